//! Puts the run's models into service, and asks the generator for the run's backends.

use saga_proto::{
    generator::v1::{Backend, ListBackendsRequest},
    model::v1::LoadModelRequest,
};

use super::{RunContext, RunError, training::Trained};
use crate::recipe;

/// The model that gates.
pub(super) const BASELINE: &str = "baseline";
/// The model that is judged against it; never gates.
pub(super) const AUGMENTED: &str = "augmented";
/// The semantic gate's model.
pub(super) const CLIP: &str = "clip";

/// The run's backends as the generator describes them, in the run's order.
///
/// # Errors
/// Names the first that the generator has not, and those it has.
pub(super) async fn backends(context: &RunContext) -> Result<Vec<Backend>, RunError> {
    let generator = &context.services.generator;
    let call = generator.call(
        ListBackendsRequest {},
        |mut generator, request| async move { generator.list_backends(request).await },
    );
    let known = call.await?.backends;
    let described = |wanted: &recipe::Backend| {
        let found = known.iter().find(|backend| backend.name == wanted.name);
        found.cloned().ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|backend| backend.name.as_str()).collect();
            RunError::Invalid {
                field: "generator",
                why: format!(
                    "the generator has no backend {:?}; it has {}",
                    wanted.name,
                    names.join(", ")
                ),
            }
        })
    };
    context.backends.iter().map(described).collect()
}

/// Loads a model into the classifier; the same again is a no-op.
pub(super) async fn load_classifier(
    context: &RunContext,
    name: &str,
    model: &Trained,
) -> Result<(), RunError> {
    let request = request(name, model, name == BASELINE);
    let models = &context.services.classifier_models;
    models
        .call(request, |mut models, request| async move {
            models.load_model(request).await
        })
        .await?;
    Ok(())
}

/// Loads the CLIP model into its gate; the same again is a no-op.
pub(super) async fn load_clip(context: &RunContext, model: &Trained) -> Result<(), RunError> {
    let models = &context.services.clip_models;
    models
        .call(
            request(CLIP, model, true),
            |mut models, request| async move { models.load_model(request).await },
        )
        .await?;
    Ok(())
}

fn request(name: &str, model: &Trained, make_default: bool) -> LoadModelRequest {
    LoadModelRequest {
        name: name.to_owned(),
        directory: model.directory.clone(),
        make_default,
    }
}
