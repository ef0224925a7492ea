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
    /// Kernel distance, unbiased. Its deviation is no error of the mean.
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
        found.extend(distances(
            &images,
            space,
            &name,
            &context.recipe.classes,
            context.seed,
        )?);
    }
    Ok(found)
}

/// Of each class that has accepted images, and of all of these together.
fn distances(
    images: &[Described],
    space: Space,
    name: &str,
    labels: &[String],
    seed: u64,
) -> Result<Vec<Drift>, RunError> {
    let with_synthetic = |class: &usize| {
        images
            .iter()
            .any(|image| image.synthetic && image.class == *class)
    };
    let classes: Vec<usize> = (0..labels.len()).filter(with_synthetic).collect();
    let each = labels
        .iter()
        .enumerate()
        .filter(|(class, _)| classes.contains(class));
    let mut found = Vec::new();
    for (class, label) in each {
        let of_class = between(images, space, &[class], seed)?;
        found.extend(of_class.map(|drift| drift.named(name, label)));
    }
    let of_all = between(images, space, &classes, seed)?;
    found.extend(of_all.map(|drift| drift.named(name, "")));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An image that the classifier describes by one number, and CLIP by ten times it where `clip`.
    fn described(class: usize, synthetic: bool, value: f64, clip: bool) -> Described {
        Described {
            class,
            synthetic,
            clip: clip.then(|| vec![10.0 * value]),
            classifier: vec![value],
        }
    }

    /// Of class a real images at 0 and 2 and accepted ones at 1 and 3, of b one accepted image, of c none.
    fn images(clip: bool) -> Vec<Described> {
        [
            (0, false, 0.0),
            (0, false, 2.0),
            (0, true, 1.0),
            (0, true, 3.0),
            (1, false, 5.0),
            (1, false, 7.0),
            (1, true, 6.0),
            (2, false, 8.0),
            (2, false, 9.0),
        ]
        .map(|(class, synthetic, value)| described(class, synthetic, value, clip))
        .into()
    }

    fn of(images: &[Described], space: Space) -> Vec<Drift> {
        let labels = ["a", "b", "c"].map(str::to_owned);
        distances(images, space, "features of a test", &labels, 1).unwrap()
    }

    #[test]
    fn each_class_with_two_images_a_side_has_a_distance_and_all_together_one() {
        let found = of(&images(false), Space::Classifier);
        let about: Vec<_> = found
            .iter()
            .map(|drift| (drift.label.as_str(), drift.real, drift.synthetic))
            .collect();
        // One accepted image is too few for b alone; of c there is none, so that its real ones do not count.
        assert_eq!(about, [("a", 2, 2), ("", 4, 3)]);
        assert!(
            found
                .iter()
                .all(|drift| drift.features == "features of a test")
        );
    }

    /// Means 1 apart and equal variances: 1. Kernels (xy + 1)^3: 1 among the real ones, 64 among the accepted, and 1, 1, 27, 343
    /// across: 1 + 64 - 2 x 93.
    #[test]
    fn distances_are_those_of_the_space_that_is_asked_for() {
        let images = images(true);
        let [own, clip] =
            [Space::Classifier, Space::Clip].map(|space| of(&images, space).remove(0));
        assert!((own.frechet - 1.0).abs() < 1e-9, "{own:?}");
        assert!(
            (own.kernel.mean - (1.0 + 64.0 - 186.0)).abs() < 1e-9,
            "{own:?}"
        );
        assert!((clip.frechet - 100.0).abs() < 1e-6, "{clip:?}");
    }

    #[test]
    fn images_without_features_have_no_distance() {
        assert_eq!(of(&images(false), Space::Clip), []);
        let real: Vec<_> = images(true)
            .into_iter()
            .filter(|image| !image.synthetic)
            .collect();
        assert_eq!(of(&real, Space::Classifier), []);
    }

    #[test]
    fn features_of_two_models_are_refused() {
        let mut images = images(false);
        images[1].classifier.push(1.0);
        let labels = ["a".to_owned()];
        let refused = distances(&images, Space::Classifier, "", &labels, 1).unwrap_err();
        let said = refused.to_string();
        assert!(said.contains("features of the train images"), "{said}");
    }
}
