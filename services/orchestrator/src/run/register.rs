//! Puts the run's classifiers on record in the model registry: what they were made of, and how they were judged.

use std::path::Path;

use saga_proto::labelstore::v1::{
    ListModelsRequest, ModelLineage, RegisterModelRequest, RegisteredModel,
};

use super::{RunContext, RunError, training::Trained};
use crate::results::ModelResult;

/// Registers a classifier as a candidate of the recipe's name; the same again is a no-op. `synthetic_run_id` is empty where it
/// saw real images only.
pub(super) async fn classifier(
    context: &RunContext,
    model: &Trained,
    synthetic_run_id: &str,
    judged: &ModelResult,
) -> Result<(), RunError> {
    let metrics = [
        ("val_accuracy", Some(model.val_accuracy)),
        ("val_macro_f1", Some(model.val_macro_f1)),
        ("golden_accuracy", judged.accuracy),
        ("golden_balanced_accuracy", judged.balanced_accuracy),
        ("golden_macro_f1", judged.macro_f1),
    ];
    let metrics = metrics.into_iter().filter_map(|(name, value)| {
        let value = value.filter(|value| value.is_finite())?;
        Some((name.to_owned(), value))
    });
    let lineage = ModelLineage {
        dataset_id: context.dataset_id.clone(),
        synthetic_run_id: synthetic_run_id.to_owned(),
        parent: parent(context).await?,
        recipe: context.recipe.name.clone(),
        seed: context.seed,
        ..ModelLineage::default()
    };
    let model = RegisteredModel {
        name: context.recipe.name.clone(),
        directory: model.directory.clone(),
        revision: model.revision.clone(),
        lineage: Some(lineage),
        metrics: metrics.collect(),
        ..RegisteredModel::default()
    };
    let request = RegisterModelRequest { model: Some(model) };
    let registry = &context.services.registry;
    let call = registry.call(request, |mut registry, request| async move {
        registry.register_model(request).await
    });
    call.await?;
    Ok(())
}

/// The version of the recipe's name that its classifiers start from; 0: none.
async fn parent(context: &RunContext) -> Result<u64, RunError> {
    let start = &context.recipe.training.classifier.init_from;
    if start.is_empty() {
        return Ok(0);
    }
    let request = ListModelsRequest {
        name: context.recipe.name.clone(),
    };
    let registry = &context.services.registry;
    let listed = registry.call(request, |mut registry, request| async move {
        registry.list_models(request).await
    });
    let models = listed.await?.models.into_iter();
    // The oldest, so that a version that is registered again keeps its parent.
    let there = models.filter(|model| Path::new(&model.directory) == Path::new(start));
    Ok(there.map(|model| model.version).min().unwrap_or(0))
}
