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
    let mut backends = Vec::with_capacity(context.backends.len());
    for (wanted, generator) in context.backends.iter().zip(&context.generators) {
        let call = generator.call(
            ListBackendsRequest {},
            |mut generator, request| async move { generator.list_backends(request).await },
        );
        backends.push(described(wanted, call.await?.backends)?);
    }
    Ok(backends)
}

fn described(wanted: &recipe::Backend, known: Vec<Backend>) -> Result<Backend, RunError> {
    let names: Vec<String> = known.iter().map(|backend| backend.name.clone()).collect();
    let found = known
        .into_iter()
        .find(|backend| backend.name == wanted.name);
    let in_batches = wanted
        .parameters
        .get("batch")
        .is_some_and(|on| on == "true");
    let found = found.map(|backend| match backend.batch_cost_usd {
        // Batches have limits of their own.
        Some(cost_usd) if in_batches => Backend {
            cost_usd,
            requests_per_minute: 0,
            requests_per_day: 0,
            ..backend
        },
        _ => backend,
    });
    found.ok_or_else(|| RunError::Invalid {
        field: "generator",
        why: format!(
            "the generator{}{} has no backend {:?}; it has {}",
            if wanted.address.is_empty() {
                ""
            } else {
                " at "
            },
            wanted.address,
            wanted.name,
            names.join(", ")
        ),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_in_batches_has_their_price_and_no_limits() {
        let backend = Backend {
            name: "gemini".into(),
            cost_usd: 0.04,
            batch_cost_usd: Some(0.02),
            requests_per_day: 1_000,
            ..Backend::default()
        };
        let mut wanted = recipe::Backend {
            name: "gemini".into(),
            parameters: [("batch".into(), "true".into())].into(),
            address: String::new(),
        };
        let found = described(&wanted, vec![backend.clone()]).unwrap();
        assert_eq!((found.cost_usd, found.requests_per_day), (0.02, 0));
        wanted.parameters.clear();
        assert_eq!(described(&wanted, vec![backend.clone()]).unwrap(), backend);
    }
}
