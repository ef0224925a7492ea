//! What a request for a diffusion model says: sizes of its UNet, and what it predicts.

use saga_models::diffusion::scheduler;
use saga_proto::trainer::v1 as proto;
use serde::Serialize;

use super::{
    Kind,
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

/// Of a diffusion model alone.
pub(super) fn prediction(
    kind: Kind,
    asked: proto::Prediction,
) -> Result<Option<Prediction>, TrainError> {
    let prediction = match asked {
        proto::Prediction::Unspecified => Prediction::default(),
        _ if kind != Kind::Diffusion => {
            let why = "is of diffusion models; leave it out";
            return Err(TrainError::field("prediction", why));
        }
        proto::Prediction::V => Prediction::V,
        proto::Prediction::Epsilon => Prediction::Epsilon,
    };
    Ok((kind == Kind::Diffusion).then_some(prediction))
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
    fn what_is_predicted_is_of_diffusion_models_alone() {
        let asked = proto::Prediction::Epsilon;
        let found = prediction(Kind::Diffusion, asked).unwrap();
        assert_eq!(found, Some(Prediction::Epsilon));
        let unspecified = proto::Prediction::Unspecified;
        let found = prediction(Kind::Diffusion, unspecified).unwrap();
        assert_eq!(found, Some(Prediction::V));
        assert_eq!(prediction(Kind::Clip, unspecified).unwrap(), None);
        assert!(prediction(Kind::Clip, asked).is_err());
    }
}
