//! Classification of labelled images, a bounded number at once.

use futures::{Stream, StreamExt as _, TryStreamExt as _, future};
use saga_proto::{
    classifier::v1::{ClassifyRequest, Prediction},
    labelstore::v1::{ReadSplitRequest, Row, Split},
};

use super::{RunContext, RunError, models::BASELINE};
use crate::metrics::Confusion;

/// Images under way at once; lets the classifier form batches.
const IN_FLIGHT: usize = 16;

/// What a model sees in an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Answer {
    /// The most probable class.
    pub(crate) class: usize,
    /// Its probability, 0 to 1.
    pub(crate) probability: f64,
}

/// What a model sees in an image.
pub(crate) async fn answer(
    context: &RunContext,
    model: &str,
    row: &Row,
) -> Result<Answer, RunError> {
    let request = ClassifyRequest {
        image: row.image.clone(),
        model: model.to_owned(),
        top_k: 1,
        threshold: 0.0,
    };
    let classifier = &context.services.classifier;
    let response = classifier
        .call(request, |mut classifier, request| async move {
            classifier.classify(request).await
        })
        .await?;
    let Prediction {
        label, probability, ..
    } = response.predictions.into_iter().next().unwrap_or_default();
    let unknown = || {
        RunError::Data(format!(
            "model {model:?} answered {label:?} for image {}; that is no class of the recipe",
            row.image_id
        ))
    };
    let class = context.recipe.class_index(&label).ok_or_else(unknown)?;
    Ok(Answer { class, probability })
}

/// Index of a row's own class.
pub(crate) fn truth(context: &RunContext, row: &Row) -> Result<usize, RunError> {
    let unknown = || {
        RunError::Data(format!(
            "image {} has label {:?}; that is no class of the recipe",
            row.image_id, row.label
        ))
    };
    context.recipe.class_index(&row.label).ok_or_else(unknown)
}

/// The baseline on the validation split.
pub(crate) async fn validate_baseline(context: &RunContext) -> Result<Confusion, RunError> {
    let rows = rows(context, Split::Val).await?;
    let judged = each(rows, |row| async move {
        Ok((
            truth(context, &row)?,
            answer(context, BASELINE, &row).await?.class,
        ))
    });
    let mut judged = std::pin::pin!(judged);
    let mut confusion = Confusion::new(context.recipe.classes.len());
    while let Some((truth, predicted)) = judged.try_next().await? {
        confusion.add(truth, predicted);
    }
    Ok(confusion)
}

/// The real images of a split.
pub(super) async fn rows(
    context: &RunContext,
    split: Split,
) -> Result<impl Stream<Item = Result<Row, RunError>>, RunError> {
    let request = ReadSplitRequest {
        dataset_id: context.dataset_id.clone(),
        split: split.into(),
        ..ReadSplitRequest::default()
    };
    let store = &context.services.datasets;
    let stream = store
        .call(request, |mut store, request| async move {
            store.read_split(request).await
        })
        .await?;
    Ok(stream
        .map_ok(|response| response.row.unwrap_or_default())
        .map_err(|status| store.error(status).into()))
}

/// Judges rows as they arrive, a bounded number at once, in any order.
pub(crate) fn each<T, F, Fut>(
    rows: impl Stream<Item = Result<Row, RunError>>,
    judge: F,
) -> impl Stream<Item = Result<T, RunError>>
where
    F: Fn(Row) -> Fut,
    Fut: Future<Output = Result<T, RunError>>,
{
    let judged = rows.map(move |row| match row {
        Ok(row) => future::Either::Left(judge(row)),
        Err(error) => future::Either::Right(future::ready(Err(error))),
    });
    judged.buffer_unordered(IN_FLIGHT)
}
