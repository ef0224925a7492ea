//! The graph of a ResNet; names and strides are those of `saga_models::resnet`.

use crate::error::Result;
use crate::onnx::graph::Attribute::{Int, Ints};
use crate::onnx::graph::Graph;
use crate::onnx::layers::Builder;
use crate::onnx::{LOGITS, PIXEL_VALUES, batch_of};
use saga_models::checkpoint::Tensors;
use saga_models::resnet::{Config, LayerType};
use saga_models::tch::Kind;

/// `pixel_values` [N, channels, height, width] to `logits` [N, C].
pub(crate) fn graph(
    config: &Config,
    (height, width): (i64, i64),
    tensors: &Tensors,
) -> Result<Graph> {
    let mut builder = Builder::new("ResNetForImageClassification", tensors);
    let shape = batch_of(&[config.num_channels, height, width]);
    let pixels = builder.graph.input(PIXEL_VALUES, Kind::Float, shape)?;
    let embedder = "resnet.embedder.embedder";
    let x = conv_norm(&mut builder, &pixels, embedder, 7, 2)?;
    let x = builder.graph.push(embedder, "Relu", &[&x], &[]);
    let pool = [
        ("kernel_shape", Ints(vec![3; 2])),
        ("strides", Ints(vec![2; 2])),
        ("pads", Ints(vec![1; 4])),
    ];
    let mut x = builder
        .graph
        .push("resnet.embedder", "MaxPool", &[&x], &pool);
    let mut inputs = config.embedding_size;
    for (stage, (&outputs, &depth)) in config.hidden_sizes.iter().zip(&config.depths).enumerate() {
        for index in 0..depth {
            let scope = format!("resnet.encoder.stages.{stage}.layers.{index}");
            let halves = index == 0 && (stage > 0 || config.downsample_in_first_stage);
            let stride = if halves { 2 } else { 1 };
            x = block(&mut builder, &x, &scope, config, stride, inputs != outputs)?;
            inputs = outputs;
        }
    }
    let pooled = builder
        .graph
        .push("resnet.pooler", "GlobalAveragePool", &[&x], &[]);
    let flat = builder
        .graph
        .push("resnet.pooler", "Flatten", &[&pooled], &[("axis", Int(1))]);
    let logits = builder.linear(&flat, "classifier.1")?;
    builder
        .graph
        .output(&logits, LOGITS, batch_of(&[config.classes.classes()]))?;
    Ok(builder.graph)
}

fn block(
    builder: &mut Builder,
    x: &str,
    scope: &str,
    config: &Config,
    stride: i64,
    widens: bool,
) -> Result<String> {
    let convolutions: Vec<(i64, i64)> = match config.layer_type {
        LayerType::Basic => vec![(3, stride), (3, 1)],
        LayerType::Bottleneck if config.downsample_in_bottleneck => {
            vec![(1, stride), (3, 1), (1, 1)]
        }
        LayerType::Bottleneck => vec![(1, 1), (3, stride), (1, 1)],
    };
    let mut inner = x.to_owned();
    for (index, (kernel, stride)) in convolutions.into_iter().enumerate() {
        if index > 0 {
            inner = builder.graph.push(scope, "Relu", &[&inner], &[]);
        }
        inner = conv_norm(
            builder,
            &inner,
            &format!("{scope}.layer.{index}"),
            kernel,
            stride,
        )?;
    }
    let shortcut = match widens || stride != 1 {
        true => conv_norm(builder, x, &format!("{scope}.shortcut"), 1, stride)?,
        false => x.to_owned(),
    };
    let sum = builder.graph.push(scope, "Add", &[&inner, &shortcut], &[]);
    Ok(builder.graph.push(scope, "Relu", &[&sum], &[]))
}

/// Padded so that a stride of one keeps the size.
fn conv_norm(
    builder: &mut Builder,
    x: &str,
    scope: &str,
    kernel: i64,
    stride: i64,
) -> Result<String> {
    let x = builder.convolution(x, &format!("{scope}.convolution"), stride, kernel / 2)?;
    builder.batch_norm(&x, &format!("{scope}.normalization"))
}
