//! Classification of labelled images.

use std::{collections::HashMap, pin::pin};

use futures::TryStreamExt as _;
use saga_proto::{
    classifier::v1::{ClassifyRequest, ClassifyResponse, Prediction},
    labelstore::v1::{ReadSplitRequest, Row, Split},
};

use super::{RunContext, RunError, bounded, models::BASELINE, read};
use crate::{metrics::Confusion, remote::RemoteError};

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
        ..ClassifyRequest::default()
    };
    let predictions = classify(context, request).await?.predictions;
    let Prediction {
        label, probability, ..
    } = predictions.into_iter().next().unwrap_or_default();
    let unknown = || {
        RunError::Data(format!(
            "model {model:?} answered {label:?} for image {}; that is no class of the recipe",
            row.image_id
        ))
    };
    let class = context.recipe.class_index(&label).ok_or_else(unknown)?;
    Ok(Answer { class, probability })
}

/// What the classifier says of an image.
pub(crate) async fn classify(
    context: &RunContext,
    request: ClassifyRequest,
) -> Result<ClassifyResponse, RemoteError> {
    let classifier = &context.services.classifier;
    let call = classifier.call(request, |mut classifier, request| async move {
        classifier.classify(request).await
    });
    call.await
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

/// A number for each image's subject, the same for the same name; an image without one shows somebody else.
pub(crate) fn subjects<'a>(names: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut known = HashMap::new();
    let number = |(image, name)| match name {
        "" => image,
        name => *known.entry(name).or_insert(image),
    };
    names.enumerate().map(number).collect()
}

/// The baseline on the validation split.
pub(crate) async fn validate_baseline(context: &RunContext) -> Result<Confusion, RunError> {
    let wanted = ReadSplitRequest {
        split: Split::Val.into(),
        ..ReadSplitRequest::default()
    };
    let rows = read::split(context, wanted).await?;
    let judged = bounded::each(rows, |row| async move {
        Ok((
            truth(context, &row)?,
            answer(context, BASELINE, &row).await?.class,
        ))
    });
    let mut judged = pin!(judged);
    let mut confusion = Confusion::new(context.recipe.classes.len());
    while let Some((truth, predicted)) = judged.try_next().await? {
        confusion.add(truth, predicted);
    }
    Ok(confusion)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_without_a_subject_show_different_people() {
        let names = ["a", "", "b", "a", ""];
        assert_eq!(subjects(names.into_iter()), [0, 1, 2, 0, 4]);
    }
}
