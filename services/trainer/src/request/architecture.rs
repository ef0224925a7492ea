//! Size of the model that a request asks for.

use saga_proto::trainer::v1 as proto;
use serde::Serialize;

use super::{Kind, diffusion, within};
use crate::error::TrainError;

/// Classifier head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// One linear layer.
    Linear,
    /// Linear of this width, BatchNorm, GELU, Dropout 0.3, Linear.
    Mlp { hidden_size: u32 },
}

/// Size of a vision transformer, keys as in a Hugging Face `config.json`; of a ResNet `num_hidden_layers` is its depth by name,
/// `hidden_size` its channels after the last stage, and what it does not have is 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Architecture {
    pub image_size: u32,
    pub patch_size: u32,
    pub hidden_size: u32,
    pub num_hidden_layers: u32,
    pub num_attention_heads: u32,
    pub intermediate_size: u32,
    pub head: Head,
    pub drop_path: f64,
}

/// The sizes, within the limits of their kind of model.
pub(super) fn architecture(
    kind: Kind,
    sizes: &proto::Architecture,
) -> Result<Architecture, TrainError> {
    match kind {
        Kind::VitClassifier => transformer(sizes),
        Kind::ResnetClassifier => resnet(sizes),
        Kind::Diffusion => diffusion::architecture(sizes),
        Kind::Clip => {
            let architecture = transformer(sizes)?;
            if architecture.head == Head::Linear && architecture.drop_path == 0.0 {
                return Ok(architecture);
            }
            let why = "head and drop_path do not apply to CLIP; leave them out";
            Err(TrainError::field("architecture", why))
        }
    }
}

/// Depths of the ResNets that can be trained.
const RESNETS: [u32; 4] = [18, 34, 50, 101];
/// The last stage has 32 times the channels that the first convolution of a ResNet-50 has.
const CHANNELS: u32 = 32;

fn resnet(sizes: &proto::Architecture) -> Result<Architecture, TrainError> {
    within("architecture.image_size", sizes.image_size, 32..=1024)?;
    within("architecture.hidden_size", sizes.hidden_size, 32..=8192)?;
    divides(
        "architecture.hidden_size",
        sizes.hidden_size,
        "the ratio of its widest to its narrowest layer",
        CHANNELS,
    )?;
    if !RESNETS.contains(&sizes.num_hidden_layers) {
        let why = format!(
            "is {}; a ResNet has one of {RESNETS:?}",
            sizes.num_hidden_layers
        );
        return Err(TrainError::field("architecture.num_hidden_layers", why));
    }
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
    if transformer != [0; 4] || sizes.drop_path > 0.0 || !linear {
        let why = "patch_size, num_attention_heads, intermediate_size, head, head_hidden_size and drop_path do not apply to a ResNet; leave them out";
        return Err(TrainError::field("architecture", why));
    }
    Ok(Architecture {
        image_size: sizes.image_size,
        patch_size: 0,
        hidden_size: sizes.hidden_size,
        num_hidden_layers: sizes.num_hidden_layers,
        num_attention_heads: 0,
        intermediate_size: 0,
        head: Head::Linear,
        drop_path: 0.0,
    })
}

fn transformer(sizes: &proto::Architecture) -> Result<Architecture, TrainError> {
    within("architecture.image_size", sizes.image_size, 8..=1024)?;
    within(
        "architecture.patch_size",
        sizes.patch_size,
        1..=sizes.image_size,
    )?;
    within("architecture.hidden_size", sizes.hidden_size, 8..=4096)?;
    within(
        "architecture.num_hidden_layers",
        sizes.num_hidden_layers,
        1..=64,
    )?;
    within(
        "architecture.num_attention_heads",
        sizes.num_attention_heads,
        1..=64,
    )?;
    within(
        "architecture.intermediate_size",
        sizes.intermediate_size,
        8..=16_384,
    )?;
    within("architecture.drop_path", sizes.drop_path, 0.0..=0.9)?;
    divides(
        "architecture.image_size",
        sizes.image_size,
        "patch_size",
        sizes.patch_size,
    )?;
    divides(
        "architecture.hidden_size",
        sizes.hidden_size,
        "num_attention_heads",
        sizes.num_attention_heads,
    )?;
    let head = match sizes.head() {
        proto::HeadKind::Unspecified | proto::HeadKind::Linear => Head::Linear,
        proto::HeadKind::Mlp => {
            within(
                "architecture.head_hidden_size",
                sizes.head_hidden_size,
                1..=8192,
            )?;
            Head::Mlp {
                hidden_size: sizes.head_hidden_size,
            }
        }
    };
    Ok(Architecture {
        image_size: sizes.image_size,
        patch_size: sizes.patch_size,
        hidden_size: sizes.hidden_size,
        num_hidden_layers: sizes.num_hidden_layers,
        num_attention_heads: sizes.num_attention_heads,
        intermediate_size: sizes.intermediate_size,
        head,
        drop_path: sizes.drop_path,
    })
}

pub(super) fn divides(
    field: &'static str,
    value: u32,
    by_name: &str,
    by: u32,
) -> Result<(), TrainError> {
    if value.is_multiple_of(by) {
        return Ok(());
    }
    Err(TrainError::field(
        field,
        format!("is {value}; it must be a multiple of {by_name}, which is {by}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resnet_takes_no_head() {
        let plain = proto::Architecture {
            image_size: 32,
            hidden_size: 64,
            num_hidden_layers: 18,
            ..Default::default()
        };
        assert!(architecture(Kind::ResnetClassifier, &plain).is_ok());
        for (head, head_hidden_size) in [
            (proto::HeadKind::Mlp, 0),
            (proto::HeadKind::Unspecified, 16),
        ] {
            let sizes = proto::Architecture {
                head: head.into(),
                head_hidden_size,
                ..plain
            };
            let said = architecture(Kind::ResnetClassifier, &sizes).unwrap_err();
            assert!(said.to_string().contains("head_hidden_size"), "{said}");
        }
    }
}
