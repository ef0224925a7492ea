//! How far the accepted images of a class lie from its real ones, in features that are named.

use saga_proto::{
    classifier::v1::ClassifyRequest,
    labelstore::v1::{ReadSplitRequest, Row, Split},
    r#type::v1::Image,
};
use saga_statistics::{FeatureError, Features, frechet, kernel};
use serde::{Deserialize, Serialize};

use super::pool::Pool;
use crate::run::{RunContext, RunError, bounded, embed, judge, models::BASELINE, read};

/// Progress of describing.
pub(crate) const STAGE: &str = "drift";

/// Distances between real and accepted train images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// What the distances are measured in: "clip embeddings (REVISION)" or "classifier features (REVISION)". Not Inception's,
    /// so that these are no FID and no KID.
    pub features: String,
    /// A class; empty: all that have accepted images, together.
    pub label: String,
    /// Real images.
    pub real: usize,
    /// Accepted images.
    pub synthetic: usize,
    /// Squared Frechet distance; rests on covariances, and so is biased upwards for few images.
    pub frechet: f64,
    /// Kernel distance, unbiased.
    pub kernel: kernel::Distance,
}

/// What an image is described by.
#[derive(Debug, Clone, Copy)]
enum Space {
    Clip,
    Classifier,
}

/// One image's features.
struct Described {
    class: usize,
    synthetic: bool,
    clip: Option<Vec<f64>>,
    classifier: Vec<f64>,
}

/// Distances by class and over all, for every kind of features that the run has a model for. `clip` and `baseline` are the
/// revisions of the models that are loaded.
pub(crate) async fn measure(
    context: &RunContext,
    pool: &Pool,
    baseline: &str,
    clip: Option<&str>,
) -> Result<Vec<Drift>, RunError> {
    let total = pool.real.iter().map(Vec::len).sum::<usize>() + pool.accepted().count();
    let images = describe_all(context, clip.is_some(), total as u64).await?;
    let spaces = [
        Some((
            Space::Classifier,
            format!("classifier features ({baseline})"),
        )),
        clip.map(|revision| (Space::Clip, format!("clip embeddings ({revision})"))),
    ];
    let mut found = Vec::new();
    for (space, name) in spaces.into_iter().flatten() {
        let with_synthetic = |class: &usize| {
            images
                .iter()
                .any(|image| image.synthetic && image.class == *class)
        };
        let classes: Vec<usize> = (0..context.recipe.classes.len())
            .filter(with_synthetic)
            .collect();
        for (class, label) in context
            .recipe
            .classes
            .iter()
            .enumerate()
            .filter(|(class, _)| classes.contains(class))
        {
            found.extend(
                between(&images, space, &[class], context.seed)?
                    .map(|drift| drift.named(&name, label)),
            );
        }
        found.extend(
            between(&images, space, &classes, context.seed)?.map(|drift| drift.named(&name, "")),
        );
    }
    Ok(found)
}

impl Drift {
    fn named(self, features: &str, label: &str) -> Self {
        Self {
            features: features.to_owned(),
            label: label.to_owned(),
            ..self
        }
    }
}

/// Distances over some classes; `None` where a side has fewer than two images.
fn between(
    images: &[Described],
    space: Space,
    classes: &[usize],
    seed: u64,
) -> Result<Option<Drift>, RunError> {
    let side = |synthetic: bool| {
        let of_side = images
            .iter()
            .filter(|image| image.synthetic == synthetic && classes.contains(&image.class));
        let vectors = of_side.filter_map(|image| match space {
            Space::Clip => image.clip.clone(),
            Space::Classifier => Some(image.classifier.clone()),
        });
        Features::new(vectors.collect())
    };
    let (real, synthetic) = match (side(false), side(true)) {
        (Ok(real), Ok(synthetic)) => (real, synthetic),
        (Err(FeatureError::TooFew { .. }), _) | (_, Err(FeatureError::TooFew { .. })) => {
            return Ok(None);
        }
        (Err(error), _) | (_, Err(error)) => return Err(unusable(&error)),
    };
    Ok(Some(Drift {
        features: String::new(),
        label: String::new(),
        real: real.count(),
        synthetic: synthetic.count(),
        frechet: frechet::distance(&real, &synthetic).map_err(|error| unusable(&error))?,
        kernel: kernel::distance(&real, &synthetic, seed).map_err(|error| unusable(&error))?,
    }))
}

fn unusable(error: &FeatureError) -> RunError {
    RunError::Data(format!("features of the train images: {error}"))
}

async fn describe_all(
    context: &RunContext,
    clip: bool,
    total: u64,
) -> Result<Vec<Described>, RunError> {
    let wanted = ReadSplitRequest {
        split: Split::Train.into(),
        synthetic_run_id: context.run_id.clone(),
        ..ReadSplitRequest::default()
    };
    let rows = read::split(context, wanted).await?;
    let described = bounded::each(rows, |row| describe(context, row, clip));
    bounded::collect(context, STAGE, total, described).await
}

async fn describe(context: &RunContext, row: Row, clip: bool) -> Result<Described, RunError> {
    Ok(Described {
        class: judge::truth(context, &row)?,
        synthetic: row.synthetic,
        classifier: features(context, row.image.clone()).await?,
        clip: match clip {
            true => {
                let embedding = embed::embedding(context, row.image).await?;
                Some(embedding.into_iter().map(f64::from).collect())
            }
            false => None,
        },
    })
}

/// What the baseline's head sees of an image.
async fn features(context: &RunContext, image: Option<Image>) -> Result<Vec<f64>, RunError> {
    let request = ClassifyRequest {
        image,
        model: BASELINE.to_owned(),
        with_features: true,
        ..ClassifyRequest::default()
    };
    let answer = judge::classify(context, request).await?;
    Ok(answer.features.into_iter().map(f64::from).collect())
}
