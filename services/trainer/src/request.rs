//! A training request, checked: every setting within its limits, errors naming the field.

use std::{
    collections::BTreeMap,
    fmt::Display,
    ops::RangeInclusive,
    path::{Component, Path, PathBuf},
};

use saga_proto::{labelstore::v1::ExtraImage, trainer::v1 as proto};
use serde::Serialize;

use crate::{error::TrainError, output::VERSIONS};

mod architecture;
mod diffusion;
mod options;
mod settings;

pub use architecture::{Architecture, Head};
pub use diffusion::{Denoising, Prediction};
pub use options::{Loss, Transfer};
pub use settings::{Length, Settings};

/// What to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    VitClassifier,
    ResnetClassifier,
    Clip,
    Diffusion,
}

/// One job. What is serialised decides the weights, and with the data's hash identifies them.
#[derive(Clone, Debug, Serialize)]
pub struct Job {
    #[serde(skip)]
    pub id: String,
    #[serde(skip)]
    pub output: PathBuf,
    /// Whether it is kept beside.
    #[serde(skip)]
    pub keep: bool,
    pub kind: Kind,
    pub dataset_id: String,
    pub synthetic_run_id: String,
    /// Part of the data, and so of their hash.
    #[serde(skip)]
    pub extra: Vec<ExtraImage>,
    pub seed: u64,
    pub architecture: Architecture,
    pub settings: Settings,
    pub prompts: BTreeMap<String, Vec<String>>,
    pub init_from: Option<PathBuf>,
    /// Of a diffusion model.
    #[serde(flatten)]
    pub denoising: Option<Denoising>,
}

impl TryFrom<proto::StreamTrainingRequest> for Job {
    type Error = TrainError;

    fn try_from(request: proto::StreamTrainingRequest) -> Result<Self, TrainError> {
        let kind = match request.kind() {
            proto::ModelKind::VitClassifier => Kind::VitClassifier,
            proto::ModelKind::ResnetClassifier => Kind::ResnetClassifier,
            proto::ModelKind::Clip => Kind::Clip,
            proto::ModelKind::Diffusion => Kind::Diffusion,
            proto::ModelKind::Unspecified => return Err(TrainError::field("kind", "is missing")),
        };
        let denoising = diffusion::denoising(kind, &request)?;
        if request.dataset_id.is_empty() {
            return Err(TrainError::field("dataset_id", "is missing"));
        }
        let mut settings = settings::settings(
            &request
                .settings
                .ok_or(TrainError::field("settings", "is missing"))?,
        )?;
        if matches!(kind, Kind::Clip | Kind::Diffusion) && settings.of_classifiers() {
            let why = "mixup, cutmix, label_smoothing, class_weights, logit_adjustment, synthetic_weight and loss are of classifiers; leave them out";
            return Err(TrainError::field("settings", why));
        }
        if kind == Kind::Diffusion {
            diffusion::no_head(&settings.transfer)?;
        }
        if request.synthetic_run_id.is_empty() && request.extra.is_empty() {
            // Nothing to weigh: the model is the same, and known as the same.
            settings.synthetic_weight = 1.0;
        }
        let sizes = request
            .architecture
            .ok_or(TrainError::field("architecture", "is missing"))?;
        let architecture = architecture::architecture(kind, &sizes)?;
        Ok(Self {
            id: request.job_id,
            output: output(&request.output)?,
            keep: request.keep,
            kind,
            dataset_id: request.dataset_id,
            synthetic_run_id: request.synthetic_run_id,
            extra: request.extra,
            seed: request.seed,
            architecture,
            settings,
            prompts: prompts(kind, request.prompts)?,
            init_from: Some(PathBuf::from(request.init_from))
                .filter(|path| !path.as_os_str().is_empty()),
            denoising,
        })
    }
}

fn prompts(
    kind: Kind,
    by_label: impl IntoIterator<Item = (String, proto::Prompts)>,
) -> Result<BTreeMap<String, Vec<String>>, TrainError> {
    let by_label: BTreeMap<_, _> = by_label
        .into_iter()
        .map(|(label, prompts)| (label, prompts.texts))
        .collect();
    match kind {
        Kind::VitClassifier | Kind::ResnetClassifier | Kind::Diffusion if !by_label.is_empty() => {
            Err(TrainError::field(
                "prompts",
                "are for CLIP only; leave them out",
            ))
        }
        Kind::Clip if by_label.is_empty() => Err(TrainError::field(
            "prompts",
            "are missing; CLIP needs texts for every class",
        )),
        _ => Ok(by_label),
    }
}

/// A path below the models folder.
fn output(path: &str) -> Result<PathBuf, TrainError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let plain = |part: Component| matches!(part, Component::Normal(name) if !name.as_encoded_bytes().starts_with(b"."));
    if Path::new(path).starts_with(VERSIONS) {
        let why = format!("is '{path}'; {VERSIONS} holds the models that are kept, choose another");
        return Err(TrainError::field("output", why));
    }
    let ok = !path.is_empty()
        && path.len() <= 200
        && path.chars().all(allowed)
        && Path::new(path).components().all(plain);
    if ok {
        return Ok(Path::new(path).components().collect());
    }
    let why = format!(
        "is '{path}'; use a relative path of at most 200 letters, digits, '-', '_', '.' and '/', no part starting with '.'"
    );
    Err(TrainError::field("output", why))
}

fn within<T: PartialOrd + Display>(
    field: &'static str,
    value: T,
    limits: RangeInclusive<T>,
) -> Result<T, TrainError> {
    if limits.contains(&value) {
        return Ok(value);
    }
    Err(TrainError::field(
        field,
        format!(
            "is {value}; it must lie in {} to {}",
            limits.start(),
            limits.end()
        ),
    ))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::randaugment::RandAugment;

    /// A plain request's job.
    pub fn job() -> Job {
        Job::try_from(request()).unwrap()
    }

    /// Its settings.
    pub fn settings() -> Settings {
        job().settings
    }

    fn request() -> proto::StreamTrainingRequest {
        proto::StreamTrainingRequest {
            kind: proto::ModelKind::VitClassifier.into(),
            dataset_id: "faces".into(),
            output: "run-1/baseline".into(),
            architecture: Some(proto::Architecture {
                image_size: 32,
                patch_size: 8,
                hidden_size: 32,
                num_hidden_layers: 2,
                num_attention_heads: 2,
                intermediate_size: 64,
                ..Default::default()
            }),
            settings: Some(proto::TrainingSettings {
                steps: 5,
                batch_size: 4,
                learning_rate: 0.1,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn refused(change: impl FnOnce(&mut proto::StreamTrainingRequest)) -> String {
        let mut request = request();
        change(&mut request);
        Job::try_from(request).unwrap_err().to_string()
    }

    #[test]
    fn accepts_the_plain_request() {
        let job = Job::try_from(request()).unwrap();
        assert_eq!(job.settings.length, Length::Steps(5));
        assert_eq!(job.output, Path::new("run-1/baseline"));
    }

    #[test]
    fn names_the_field_and_its_limit() {
        let said = refused(|request| request.settings.as_mut().unwrap().learning_rate = 3.0);
        assert_eq!(
            said,
            "settings.learning_rate: is 3; it must lie in 0.000000001 to 1"
        );
        let said = refused(|request| request.settings.as_mut().unwrap().mixup = f64::NAN);
        assert!(said.starts_with("settings.mixup: is NaN"), "{said}");
        let said = refused(|request| request.settings.as_mut().unwrap().synthetic_weight = 1.5);
        assert_eq!(
            said,
            "settings.synthetic_weight: is 1.5; it must lie in 0.01 to 1"
        );
        let said = refused(|request| request.architecture.as_mut().unwrap().patch_size = 7);
        assert_eq!(
            said,
            "architecture.image_size: is 32; it must be a multiple of patch_size, which is 7"
        );
        let said = refused(|request| request.settings.as_mut().unwrap().steps = 0);
        assert!(said.starts_with("settings.steps: is 0"), "{said}");
    }

    #[test]
    fn a_weight_of_synthetic_images_is_part_of_a_job_that_has_some() {
        let weight = |run: &str| {
            let mut request = request();
            request.synthetic_run_id = run.into();
            request.settings.as_mut().unwrap().synthetic_weight = 0.5;
            Job::try_from(request).unwrap().settings.synthetic_weight
        };
        assert_eq!((weight("run-1"), weight("")), (0.5, 1.0));
    }

    #[test]
    fn what_is_left_out_changes_nothing() {
        let settings = settings();
        let plain = Transfer {
            head_warmup: 0.0,
            layer_decay: 1.0,
        };
        assert_eq!((settings.accumulation, settings.transfer), (1, plain));
        assert_eq!((settings.loss, settings.cutmix), (Loss::CrossEntropy, 0.0));
        assert_eq!(settings.rand_augment, RandAugment::NONE);
        assert_eq!(settings.synthetic_weight, 1.0);
        let known = serde_json::to_value(settings).unwrap();
        assert!(known.get("synthetic_weight").is_none(), "{known}");
    }

    #[test]
    fn a_loss_checks_its_own_parameters() {
        let said = refused(|request| {
            let settings = request.settings.as_mut().unwrap();
            settings.set_loss(proto::Loss::Ldam);
            settings.ldam_margin = 31.0;
        });
        assert!(said.starts_with("settings.ldam_margin: is 31"), "{said}");
    }

    #[test]
    fn output_stays_below_the_models_folder() {
        for bad in [
            "",
            "versions",
            "versions/a",
            "/etc",
            "../x",
            "a/../b",
            ".hidden",
            "a/.b",
            "a b",
            "ä",
            "./a",
        ] {
            assert!(
                refused(|request| request.output = bad.into()).starts_with("output: "),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_diffusion_model_warms_no_head_up() {
        let diffusion = |head_warmup| {
            let mut request = request();
            request.set_kind(proto::ModelKind::Diffusion);
            request.architecture = Some(proto::Architecture {
                image_size: 32,
                hidden_size: 8,
                num_hidden_layers: 1,
                ..Default::default()
            });
            request.settings.as_mut().unwrap().head_warmup = head_warmup;
            Job::try_from(request).map_err(|refused| refused.to_string())
        };
        diffusion(0.0).unwrap();
        let said = diffusion(0.2).unwrap_err();
        assert!(said.starts_with("settings.head_warmup: "), "{said}");
    }

    #[test]
    fn clip_needs_prompts_and_no_classifier_losses() {
        let clip =
            |request: &mut proto::StreamTrainingRequest| request.set_kind(proto::ModelKind::Clip);
        assert!(refused(clip).starts_with("prompts: are missing"));
        let said = refused(|request| {
            clip(request);
            request.settings.as_mut().unwrap().mixup = 0.2;
        });
        assert!(said.contains("are of classifiers"), "{said}");
        let said = refused(|request| {
            clip(request);
            request.settings.as_mut().unwrap().synthetic_weight = 0.5;
        });
        assert!(said.contains("are of classifiers"), "{said}");
    }
}
