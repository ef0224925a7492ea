//! The graph of a vision transformer with either head; the names are those of `saga_models::vit`.

use crate::error::Result;
use crate::onnx::graph::Graph;
use crate::onnx::layers::{Builder, Transformer};
use crate::onnx::{LOGITS, PIXEL_VALUES, batch_of};
use saga_models::checkpoint::Tensors;
use saga_models::tch::Kind;
use saga_models::vit::{Config, NAMES};

/// `pixel_values` [N, channels, side, side] to `logits` [N, C].
pub(crate) fn graph(config: &Config, tensors: &Tensors) -> Result<Graph> {
    let mut builder = Builder::new("ViTForImageClassification", tensors);
    let side = config.image_size;
    let shape = batch_of(&[config.num_channels, side, side]);
    let pixels = builder.graph.input(PIXEL_VALUES, Kind::Float, shape)?;
    let patches = builder.patches(
        &pixels,
        "vit.embeddings.patch_embeddings.projection",
        config.patch_size,
        "vit.embeddings.cls_token",
    )?;
    let positions = builder.weight("vit.embeddings.position_embeddings")?;
    let mut x = builder
        .graph
        .push("vit.embeddings", "Add", &[&patches, &positions], &[]);
    let transformer = Transformer {
        names: &NAMES,
        width: config.hidden_size,
        heads: config.num_attention_heads,
        activation: config.hidden_act,
        eps: config.layer_norm_eps,
        mask: None,
    };
    for index in 0..config.num_hidden_layers {
        x = builder.block(&x, &format!("vit.encoder.layer.{index}"), transformer)?;
    }
    // Normalising the class token alone equals normalising all tokens and taking it.
    let class = builder.first_token(&x, "vit")?;
    let class = builder.layer_norm(&class, "vit.layernorm", config.layer_norm_eps)?;
    let logits = head(&mut builder, &class, config.saga_head.is_some())?;
    builder
        .graph
        .output(&logits, LOGITS, batch_of(&[config.classes.classes()]))?;
    Ok(builder.graph)
}

fn head(builder: &mut Builder, class: &str, is_saga: bool) -> Result<String> {
    if !is_saga {
        return builder.linear(class, "classifier");
    }
    let hidden = builder.linear(class, "classifier.0")?;
    let normed = builder.batch_norm(&hidden, "classifier.1")?;
    let active = builder.gelu(&normed, "classifier.2")?;
    builder.linear(&active, "classifier.4")
}
