//! ResNets: torchvision's names, which are timm's too, and the configuration that shapes tell.

use super::{Tensors, count, replaced, shape};
use crate::error::Result;
use crate::labels::Labels;
use crate::resnet::{Config, LayerType};

const RULES: &[(&str, &str)] = &[
    ("conv1.", "resnet.embedder.embedder.convolution."),
    ("bn1.", "resnet.embedder.embedder.normalization."),
    ("fc.", "classifier.1."),
];
const BLOCK_RULES: &[(&str, &str)] = &[
    ("conv1.", "layer.0.convolution."),
    ("bn1.", "layer.0.normalization."),
    ("conv2.", "layer.1.convolution."),
    ("bn2.", "layer.1.normalization."),
    ("conv3.", "layer.2.convolution."),
    ("bn3.", "layer.2.normalization."),
    ("downsample.0.", "shortcut.convolution."),
    ("downsample.1.", "shortcut.normalization."),
];

/// Whether the names are torchvision's.
pub(super) fn is_torchvision(tensors: &Tensors) -> bool {
    tensors.contains_key("layer1.0.conv1.weight")
}

/// Under Hugging Face's names.
pub(super) fn renamed(tensors: Tensors) -> Tensors {
    if !is_torchvision(&tensors) {
        return tensors;
    }
    let rename = |name: String| {
        block(&name)
            .or_else(|| replaced(&name, RULES))
            .unwrap_or(name)
    };
    tensors
        .into_iter()
        .map(|(name, tensor)| (rename(name), tensor))
        .collect()
}

/// layer{stage from 1}.{block}.{rest}
fn block(name: &str) -> Option<String> {
    let (stage, rest) = name.strip_prefix("layer")?.split_once('.')?;
    let (index, rest) = rest.split_once('.')?;
    let stage = stage.parse::<usize>().ok()?.checked_sub(1)?;
    let rest = replaced(rest, BLOCK_RULES)?;
    Some(format!(
        "resnet.encoder.stages.{stage}.layers.{index}.{rest}"
    ))
}

/// The configuration of tensors under Hugging Face's names, strides as torchvision's and timm's.
pub(super) fn inferred(tensors: &Tensors) -> Result<Config> {
    let first = "resnet.embedder.embedder.convolution.weight";
    let [embedding_size, num_channels, _, _] = shape(tensors, first)?;
    let stages = "resnet.encoder.stages.";
    let bottleneck =
        tensors.contains_key(&format!("{stages}0.layers.0.layer.2.convolution.weight"));
    let last = if bottleneck { 2 } else { 1 };
    let (mut hidden_sizes, mut depths) = (Vec::new(), Vec::new());
    for stage in 0..count(tensors, stages) {
        let layers = format!("{stages}{stage}.layers.");
        let name = format!("{layers}0.layer.{last}.convolution.weight");
        let [outputs, _, _, _] = shape(tensors, &name)?;
        hidden_sizes.push(outputs);
        depths.push(count(tensors, &layers) as i64);
    }
    let [classes, _] = shape(tensors, "classifier.1.weight")?;
    Ok(Config {
        num_channels,
        embedding_size,
        hidden_sizes,
        depths,
        layer_type: match bottleneck {
            true => LayerType::Bottleneck,
            false => LayerType::Basic,
        },
        classes: Labels::unnamed(classes as usize),
        ..Config::default()
    })
}
