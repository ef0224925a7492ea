//! Puts the run's models into service, and asks the generator for the run's backends.

use std::sync::Arc;

use saga_chassis::status;
use saga_proto::{
    generator::v1::{Backend, ListBackendsRequest},
    labelstore::v1::Stage,
    model::v1::LoadModelRequest,
};

use tonic::Status;

use super::{RunContext, RunError, diffusion, stage::recorded, training::Trained};
use crate::{
    config::Config,
    guard::{Guard, GuardError},
    recipe::{self, Recipe},
};

/// The model that gates.
pub(crate) const BASELINE: &str = "baseline";
/// The model that is judged against it; never gates.
pub(crate) const AUGMENTED: &str = "augmented";
/// The semantic gate's model.
pub(crate) const CLIP: &str = "clip";

/// The run's backends as the generator describes them, in the run's order.
///
/// # Errors
/// Names the first that the generator has not, and those it has.
pub(crate) async fn backends(context: &RunContext) -> Result<Vec<Backend>, RunError> {
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

/// A recipe's cascade, judging with the models that runs train.
pub(crate) fn guard(recipe: Arc<Recipe>, config: &Config) -> Result<Guard, GuardError> {
    let guard = Guard::new(recipe, &config.addresses, config.retry)?;
    Ok(guard
        .with_model("vit-classifier", BASELINE)
        .with_model("clip-gate", CLIP))
}

/// Puts the models that gate a finished run into service; answers the revisions of baseline and, where the recipe asks for one,
/// CLIP.
pub(crate) async fn load_recorded(
    context: &RunContext,
    stages: &[Stage],
) -> Result<(String, Option<String>), RunError> {
    let baseline: Trained = recorded(stages, "baseline")?;
    load_classifier(context, BASELINE, &baseline).await?;
    if !context.recipe.uses("clip-gate") {
        return Ok((baseline.revision, None));
    }
    let clip: Trained = recorded(stages, "clip")?;
    load_clip(context, &clip).await?;
    Ok((baseline.revision, Some(clip.revision)))
}

/// The models that candidates are made and judged with.
#[derive(Debug, Clone)]
pub(super) struct InUse {
    /// Gates by class.
    pub(super) baseline: Trained,
    /// Gates by prompt, where the recipe asks for it.
    pub(super) clip: Option<Trained>,
    /// Makes candidates, where the run has a model for that.
    pub(super) local: Option<Trained>,
}

impl InUse {
    /// Puts all of them into service; the same again is a no-op.
    pub(super) async fn load(&self, context: &RunContext) -> Result<(), RunError> {
        load_classifier(context, BASELINE, &self.baseline).await?;
        if let Some(clip) = &self.clip {
            load_clip(context, clip).await?;
        }
        match &self.local {
            Some(local) => diffusion::load(context, local).await,
            None => Ok(()),
        }
    }
}

/// Whether a service answered that it has not the run's model: it was started again since it got it.
pub(super) fn is_lost(answer: &Status) -> bool {
    let reason = status::reason(answer);
    matches!(
        reason.as_deref(),
        Some("MODEL_NOT_LOADED" | "MODEL_UNKNOWN")
    )
}

/// Loads a model into the classifier; the same again is a no-op.
pub(crate) async fn load_classifier(
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
pub(crate) async fn load_clip(context: &RunContext, model: &Trained) -> Result<(), RunError> {
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
