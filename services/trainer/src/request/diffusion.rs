//! What a request for a diffusion model says: sizes of its UNet, and what it learns of noisy images.

use saga_models::diffusion::scheduler::{self, BetaSchedule};
use saga_proto::trainer::v1 as proto;
use serde::Serialize;

use super::{
    Kind, Transfer,
    architecture::{Architecture, Head, divides},
    within,
};
use crate::{
    diffusion::{CHANNELS_UNIT, IMAGE_SIZE_UNIT},
    error::TrainError,
};

/// What a diffusion model predicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The velocity.
    #[default]
    V,
    /// The noise.
    Epsilon,
}

impl From<Prediction> for scheduler::Prediction {
    fn from(of: Prediction) -> Self {
        match of {
            Prediction::V => Self::VPrediction,
            Prediction::Epsilon => Self::Epsilon,
        }
    }
}

/// What a diffusion model learns of noisy images. Of what decides its weights, defaults are left out: they were the only choice once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Denoising {
    pub prediction: Prediction,
    #[serde(skip_serializing_if = "is_default_schedule")]
    pub noise_schedule: BetaSchedule,
    /// Limit of the signal-to-noise ratio in the loss's weights; 0: all times weigh the same.
    #[serde(skip_serializing_if = "is_zero")]
    pub min_snr_gamma: f64,
}

fn is_default_schedule(schedule: &BetaSchedule) -> bool {
    *schedule == Denoising::default().noise_schedule
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl Default for Denoising {
    fn default() -> Self {
        Self {
            prediction: Prediction::default(),
            noise_schedule: BetaSchedule::SquaredCosine,
            min_snr_gamma: 0.0,
        }
    }
}

impl From<Denoising> for scheduler::Config {
    fn from(of: Denoising) -> Self {
        Self::of_pixels(of.prediction.into(), of.noise_schedule)
    }
}

/// Of a diffusion model alone.
pub(super) fn denoising(
    kind: Kind,
    request: &proto::StreamTrainingRequest,
) -> Result<Option<Denoising>, TrainError> {
    let (prediction, schedule) = (request.prediction(), request.noise_schedule());
    if kind != Kind::Diffusion {
        let given = [
            ("prediction", prediction != proto::Prediction::Unspecified),
            (
                "noise_schedule",
                schedule != proto::NoiseSchedule::Unspecified,
            ),
            ("min_snr_gamma", request.min_snr_gamma != 0.0),
        ];
        return match given.into_iter().find(|(_, given)| *given) {
            Some((field, _)) => {
                let why = "is of diffusion models; leave it out";
                Err(TrainError::field(field, why))
            }
            None => Ok(None),
        };
    }
    Ok(Some(Denoising {
        prediction: match prediction {
            proto::Prediction::Unspecified | proto::Prediction::V => Prediction::V,
            proto::Prediction::Epsilon => Prediction::Epsilon,
        },
        noise_schedule: match schedule {
            proto::NoiseSchedule::Unspecified | proto::NoiseSchedule::SquaredcosCapV2 => {
                BetaSchedule::SquaredCosine
            }
            proto::NoiseSchedule::Linear => BetaSchedule::Linear,
            proto::NoiseSchedule::ScaledLinear => BetaSchedule::ScaledLinear,
        },
        min_snr_gamma: within("min_snr_gamma", request.min_snr_gamma, 0.0..=1_000.0)?,
    }))
}

/// A UNet ends in no head that is new for a data set, and its layers lie in no row from the image to one.
pub(super) fn no_head(transfer: &Transfer) -> Result<(), TrainError> {
    let refuse = |field, why| Err(TrainError::field(field, why));
    if transfer.head_warmup > 0.0 {
        let why = "must be 0: a diffusion model has no head to train alone; leave it out";
        return refuse("settings.head_warmup", why);
    }
    if transfer.layer_decay < 1.0 {
        let why = "must be 1: a diffusion model has no head that its layers could be counted from; leave it out";
        return refuse("settings.layer_decay", why);
    }
    Ok(())
}

/// Side, channels of the finest level and residual blocks of each; what a UNet does not have must be left out.
pub(super) fn architecture(sizes: &proto::Architecture) -> Result<Architecture, TrainError> {
    let side = within("architecture.image_size", sizes.image_size, 8..=128)?;
    divides(
        "architecture.image_size",
        side,
        "the size of the coarsest level's pixels",
        IMAGE_SIZE_UNIT,
    )?;
    let channels = within("architecture.hidden_size", sizes.hidden_size, 8..=512)?;
    divides(
        "architecture.hidden_size",
        channels,
        "the number of groups",
        CHANNELS_UNIT,
    )?;
    let layers = within(
        "architecture.num_hidden_layers",
        sizes.num_hidden_layers,
        1..=4,
    )?;
    let transformer = [
        sizes.patch_size,
        sizes.num_attention_heads,
        sizes.intermediate_size,
        sizes.head_hidden_size,
    ];
    let linear = matches!(
        sizes.head(),
        proto::HeadKind::Unspecified | proto::HeadKind::Linear
    );
    if transformer != [0; 4] || sizes.drop_path != 0.0 || !linear {
        let why = "has more than image_size, hidden_size and num_hidden_layers, which a diffusion model has; leave the rest out";
        return Err(TrainError::field("architecture", why));
    }
    Ok(Architecture {
        image_size: side,
        patch_size: 0,
        hidden_size: channels,
        num_hidden_layers: layers,
        num_attention_heads: 0,
        intermediate_size: 0,
        head: Head::Linear,
        drop_path: 0.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: proto::Architecture = proto::Architecture {
        image_size: 32,
        patch_size: 0,
        hidden_size: 64,
        num_hidden_layers: 2,
        num_attention_heads: 0,
        intermediate_size: 0,
        head: 0,
        head_hidden_size: 0,
        drop_path: 0.0,
    };

    #[test]
    fn sizes_that_cannot_be_are_named() {
        assert_eq!(architecture(&SIZES).unwrap().hidden_size, 64);
        let refused = |change: fn(&mut proto::Architecture)| {
            let mut sizes = SIZES;
            change(&mut sizes);
            architecture(&sizes).unwrap_err().to_string()
        };
        let said = refused(|sizes| sizes.image_size = 30);
        assert!(said.starts_with("architecture.image_size: is 30"), "{said}");
        let said = refused(|sizes| sizes.hidden_size = 12);
        assert!(
            said.contains("multiple of the number of groups, which is 8"),
            "{said}"
        );
        let said = refused(|sizes| sizes.patch_size = 4);
        assert!(said.contains("leave the rest out"), "{said}");
    }

    #[test]
    fn what_takes_a_head_is_refused() {
        let stages = |head_warmup, layer_decay| {
            let transfer = Transfer {
                head_warmup,
                layer_decay,
            };
            no_head(&transfer).map_err(|refused| refused.to_string())
        };
        assert_eq!(stages(0.0, 1.0), Ok(()));
        let said = stages(0.5, 1.0).unwrap_err();
        assert!(
            said.starts_with("settings.head_warmup: must be 0"),
            "{said}"
        );
        let said = stages(0.0, 0.75).unwrap_err();
        assert!(
            said.starts_with("settings.layer_decay: must be 1"),
            "{said}"
        );
    }

    #[test]
    fn what_is_learned_of_noisy_images_is_of_diffusion_models_alone() {
        let unspecified = proto::StreamTrainingRequest::default();
        let found = denoising(Kind::Diffusion, &unspecified).unwrap();
        assert_eq!(found, Some(Denoising::default()));
        assert_eq!(denoising(Kind::Clip, &unspecified).unwrap(), None);
        let asked = proto::StreamTrainingRequest {
            prediction: proto::Prediction::Epsilon.into(),
            noise_schedule: proto::NoiseSchedule::ScaledLinear.into(),
            min_snr_gamma: 5.0,
            ..unspecified
        };
        let expected = Denoising {
            prediction: Prediction::Epsilon,
            noise_schedule: BetaSchedule::ScaledLinear,
            min_snr_gamma: 5.0,
        };
        assert_eq!(denoising(Kind::Diffusion, &asked).unwrap(), Some(expected));
        let refused = |kind, request: &proto::StreamTrainingRequest| {
            denoising(kind, request).unwrap_err().to_string()
        };
        assert!(refused(Kind::Clip, &asked).starts_with("prediction: is of diffusion"));
        let negative = proto::StreamTrainingRequest {
            min_snr_gamma: -1.0,
            ..proto::StreamTrainingRequest::default()
        };
        assert!(refused(Kind::Diffusion, &negative).starts_with("min_snr_gamma: is -1"));
        assert!(refused(Kind::Clip, &negative).starts_with("min_snr_gamma: is of diffusion"));
    }

    #[test]
    fn a_model_of_defaults_is_the_one_it_was_before_there_was_a_choice() {
        let text = serde_json::to_string(&Denoising::default()).unwrap();
        assert_eq!(text, r#"{"prediction":"v"}"#);
    }
}
