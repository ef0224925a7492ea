//! The local diffusion model of a run: trained before candidates are made of it, put into the generator's service, and checked for
//! what it memorised.

use futures::{TryStreamExt as _, future};
use saga_proto::{
    labelstore::v1::ListCandidatesResponse,
    model::v1::LoadModelRequest,
    trainer::v1::{self as trainer, ModelKind, StreamTrainingRequest},
};

use super::{RunContext, RunError, read, training, training::Trained};
use crate::{recipe::Diffusion, results::Memorisation};

/// The name of stage, model and results.
pub(super) const DIFFUSION: &str = "diffusion";
/// The generator's backend that edits with it.
const BACKEND: &str = "local-diffusion";

/// Whether any candidates come of it.
pub(super) fn is_used(context: &RunContext) -> bool {
    context
        .backends
        .iter()
        .any(|backend| backend.name == BACKEND)
}

/// Its size and settings.
///
/// # Errors
/// A recipe that has none.
pub(super) fn wanted(context: &RunContext) -> Result<&Diffusion, RunError> {
    let wanted = context.recipe.training.diffusion.as_ref();
    wanted.ok_or_else(|| RunError::Invalid {
        field: "generator",
        why: format!("{BACKEND} needs a model; add [training.diffusion] to the recipe"),
    })
}

/// Trains it on real images alone.
pub(super) async fn train(context: &RunContext) -> Result<Trained, RunError> {
    let model = wanted(context)?;
    let request = StreamTrainingRequest {
        architecture: Some((&model.architecture).into()),
        settings: Some((&model.settings).into()),
        init_from: model.init_from.clone(),
        prediction: trainer::Prediction::from(model.prediction).into(),
        noise_schedule: trainer::NoiseSchedule::from(model.noise_schedule).into(),
        min_snr_gamma: model.min_snr_gamma,
        ..training::job(context, DIFFUSION, ModelKind::Diffusion)
    };
    training::train(context, DIFFUSION, request).await
}

/// What a request for a candidate says so that no other model in the generator's service answers it: one of the generator's own,
/// where it was started again since it got the run's.
pub(super) fn parameter(backend: &str) -> Option<(String, String)> {
    (backend == BACKEND).then(|| ("model".to_owned(), DIFFUSION.to_owned()))
}

/// Puts it into service wherever the run's backend is; the same again is a no-op.
pub(super) async fn load(context: &RunContext, model: &Trained) -> Result<(), RunError> {
    let used = context
        .backends
        .iter()
        .filter(|backend| backend.name == BACKEND);
    for backend in used {
        let models = context.services.generator_models_at(&backend.address);
        let models = models.map_err(|error| RunError::Data(error.to_string()))?;
        let request = LoadModelRequest {
            name: DIFFUSION.to_owned(),
            directory: model.directory.clone(),
            make_default: true,
        };
        models
            .call(request, |mut models, request| async move {
                models.load_model(request).await
            })
            .await?;
    }
    Ok(())
}

/// How near its candidates came to the images that it was trained on.
pub(super) async fn memorisation(context: &RunContext) -> Result<Option<Memorisation>, RunError> {
    if !is_used(context) {
        return Ok(None);
    }
    let candidates = read::candidates(context, false).await?;
    let near = candidates.try_filter_map(|candidate| future::ok(nearest(candidate)));
    Ok(Memorisation::new(near.try_collect().await?))
}

/// What the generator noted of a candidate.
fn nearest(candidate: ListCandidatesResponse) -> Option<crate::results::Nearest> {
    let noted = candidate.provenance?.parameters;
    let number = |name: &str| noted.get(name)?.parse().ok();
    Some(crate::results::Nearest {
        image_id: noted.get("nearest_train_image")?.clone(),
        distance: number("nearest_train_distance")?,
        share: number("nearest_train_share")?,
        candidate_id: candidate.candidate_id,
    })
}
