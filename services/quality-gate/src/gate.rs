//! The gate contract over a pool of threads that decode and measure.

use std::cmp::Ordering;
use std::collections::HashMap;

use saga_batching::{BatchConfig, Batcher, SpawnError, threads};
use saga_chassis::{Metrics, status::internal};
use saga_gate::{Candidate, EncodedImage, Gate, Judgement, decode_error, submit, timing};
use saga_imaging::{FaceDetector, FaceError};
use saga_proto::gate::v1::{DescribeResponse, ThresholdSpec};
use tonic::Status;

use crate::config::{Config, Thresholds};
use crate::measure::{MeasureError, Measurer, Quality};

/// What spans and metrics call it.
const WORK: &str = "quality";
/// Of 8-bit levels: a Laplacian is 1,020 at most.
pub(crate) const LARGEST_SHARPNESS: f64 = 1_040_400.0;
/// Faces told of in a verdict's details.
const DETAILED_FACES: usize = 4;

/// The gate.
pub(crate) struct QualityGate {
    workers: Batcher<EncodedImage, Quality, Status>,
    thresholds: Thresholds,
}

impl QualityGate {
    /// Starts the workers.
    pub(crate) async fn start(
        config: &Config,
        metrics: &Metrics,
    ) -> Result<Self, SpawnError<FaceError>> {
        let workers = threads(config.work.workers);
        // Images do not gain from company: a batch of one spreads them over the cores.
        let batch = BatchConfig {
            max_batch: 1,
            queue_capacity: config.work.queue_capacity,
        };
        let (limits, gate) = (config.limits.decode(), config.gate);
        let decode_seconds = metrics.decode_seconds(WORK);
        let make_worker = move || {
            let mut measurer = Measurer {
                limits,
                side: gate.measured_side,
                faces: (gate.faces > 0).then(FaceDetector::new).transpose()?,
            };
            Ok::<_, FaceError>(move |images: Vec<EncodedImage>| {
                let mut quality = |image: &EncodedImage| {
                    measurer
                        .measure(&image.data)
                        .inspect(|quality| decode_seconds.observe(quality.decode))
                        .map_err(|error| match error {
                            MeasureError::Decode(error) => decode_error("item.candidate", &error),
                            MeasureError::Faces(error) => {
                                internal("FACES_FAILED", error.to_string())
                            }
                        })
                };
                images.iter().map(&mut quality).collect::<Vec<_>>()
            })
        };
        Ok(Self {
            workers: Batcher::spawn_pool(metrics.work(WORK), workers, batch, make_worker).await?,
            thresholds: config.gate,
        })
    }
}

impl Gate for QualityGate {
    fn describe(&self) -> DescribeResponse {
        DescribeResponse {
            name: "quality".to_owned(),
            description:
                "Large and sharp enough to learn from, with the faces asked for: the variance of the Laplacian at one size"
                    .to_owned(),
            thresholds: vec![ThresholdSpec {
                name: "min".to_owned(),
                default_value: self.thresholds.min,
                lowest: 0.0,
                highest: LARGEST_SHARPNESS,
            }],
            ..DescribeResponse::default()
        }
    }

    async fn evaluate(&self, candidate: Candidate) -> Result<Judgement, Status> {
        let Candidate {
            candidate, call, ..
        } = candidate;
        let batched = submit(&self.workers, candidate, call).await?;
        let quality = batched.output;
        let times = [batched.queue, quality.decode, quality.compute];
        Ok(Judgement {
            score: quality.sharpness,
            rejected: unusable(&quality, &self.thresholds),
            model: None,
            timing: timing(times, batched.batch_size),
            details: details(&quality, &self.thresholds),
        })
    }
}

/// The gate's own reasons, which hold whatever the score.
fn unusable(quality: &Quality, thresholds: &Thresholds) -> Option<&'static str> {
    let (width, height) = quality.size;
    if width.min(height) < thresholds.min_side {
        return Some("TOO_SMALL");
    }
    let faces = quality.faces.as_ref()?.len();
    match faces.cmp(&(thresholds.faces as usize)) {
        Ordering::Less if faces == 0 => Some("NO_FACE"),
        Ordering::Less => Some("TOO_FEW_FACES"),
        Ordering::Equal => None,
        Ordering::Greater => Some("TOO_MANY_FACES"),
    }
}

fn details(quality: &Quality, thresholds: &Thresholds) -> HashMap<String, f64> {
    let (width, height) = quality.size;
    let mut details = HashMap::from([
        ("width".to_owned(), width.into()),
        ("height".to_owned(), height.into()),
        ("min_side".to_owned(), thresholds.min_side.into()),
    ]);
    if let Some(faces) = &quality.faces {
        details.insert("faces".to_owned(), faces.len() as f64);
        for (n, face) in faces.iter().take(DETAILED_FACES).enumerate() {
            for (name, value) in [
                ("left", face.left),
                ("top", face.top),
                ("width", face.width),
                ("height", face.height),
                ("score", face.score),
            ] {
                details.insert(format!("face_{n}_{name}"), value);
            }
        }
    }
    details
}

#[cfg(test)]
mod tests {
    use super::*;
    use saga_imaging::Face;
    use std::time::Duration;

    fn quality(size: (u32, u32), faces: Option<usize>) -> Quality {
        let face = |n: usize| Face {
            left: n as f64,
            top: -2.0,
            width: 40.0,
            height: 40.0,
            score: 9.0,
        };
        Quality {
            size,
            sharpness: 80.0,
            faces: faces.map(|count| (0..count).map(face).collect()),
            decode: Duration::ZERO,
            compute: Duration::ZERO,
        }
    }

    #[test]
    fn the_size_comes_first_and_then_the_number_of_faces() {
        let of = |size, faces, wanted| {
            let thresholds = Thresholds {
                faces: wanted,
                ..Config::default().gate
            };
            unusable(&quality(size, faces), &thresholds)
        };
        let large = (96, 48);
        assert_eq!(of((96, 47), Some(1), 1), Some("TOO_SMALL"));
        assert_eq!(of(large, None, 0), None);
        assert_eq!(of(large, Some(1), 1), None);
        assert_eq!(of(large, Some(0), 1), Some("NO_FACE"));
        assert_eq!(of(large, Some(2), 1), Some("TOO_MANY_FACES"));
        assert_eq!(of(large, Some(1), 2), Some("TOO_FEW_FACES"));
    }

    #[test]
    fn faces_are_told_where_they_are_counted() {
        let told = |faces| details(&quality((96, 96), faces), &Config::default().gate);
        let one = told(Some(1));
        assert_eq!((one["faces"], one["face_0_top"]), (1.0, -2.0));
        assert_eq!(told(None).len(), 3);
        assert_eq!(told(Some(9)).len(), 4 + 5 * DETAILED_FACES);
    }
}
