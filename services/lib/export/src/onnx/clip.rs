//! The graphs of a CLIP's two towers; names are those of `saga_models::clip`.

use crate::error::Result;
use crate::onnx::graph::Attribute::Int;
use crate::onnx::graph::Graph;
use crate::onnx::layers::{Builder, Transformer};
use crate::onnx::proto::{Side, data_type::INT32};
use crate::onnx::{INPUT_IDS, PIXEL_VALUES, batch_of};
use saga_models::checkpoint::Tensors;
use saga_models::clip::{Config, LEGACY_EOS, NAMES, TextConfig};
use saga_models::tch::{Device, Kind, Tensor};

/// `pixel_values` [N, channels, side, side] to `image_embeds` [N, projection_dim], rows of length one.
pub(crate) fn image_tower(config: &Config, tensors: &Tensors) -> Result<Graph> {
    let vision = &config.vision_config;
    let mut builder = Builder::new("CLIPVisionModelWithProjection", tensors);
    let side = vision.image_size;
    let shape = batch_of(&[vision.num_channels, side, side]);
    let pixels = builder.graph.input(PIXEL_VALUES, Kind::Float, shape)?;
    let embeddings = "vision_model.embeddings";
    let patches = builder.patches(
        &pixels,
        &format!("{embeddings}.patch_embedding"),
        vision.patch_size,
        &format!("{embeddings}.class_embedding"),
    )?;
    let positions = builder.weight(&format!("{embeddings}.position_embedding.weight"))?;
    let x = builder
        .graph
        .push(embeddings, "Add", &[&patches, &positions], &[]);
    let mut x = builder.layer_norm(&x, "vision_model.pre_layrnorm", vision.layer_norm_eps)?;
    let transformer = Transformer {
        names: &NAMES,
        width: vision.hidden_size,
        heads: vision.num_attention_heads,
        activation: vision.hidden_act,
        eps: vision.layer_norm_eps,
        mask: None,
    };
    for index in 0..vision.num_hidden_layers {
        x = builder.block(
            &x,
            &format!("vision_model.encoder.layers.{index}"),
            transformer,
        )?;
    }
    let pooled = builder.first_token(&x, "vision_model")?;
    let pooled = builder.layer_norm(
        &pooled,
        "vision_model.post_layernorm",
        vision.layer_norm_eps,
    )?;
    let projected = builder.linear(&pooled, "visual_projection")?;
    let embeds = builder.unit_rows(&projected, "visual_projection");
    builder
        .graph
        .output(&embeds, "image_embeds", batch_of(&[config.projection_dim]))?;
    Ok(builder.graph)
}

/// `input_ids` [N, tokens] to `text_embeds` [N, projection_dim], rows of length one. Each sentence has its end token; what
/// follows it has no influence, so that there is no mask to give.
pub(crate) fn text_tower(config: &Config, tensors: &Tensors) -> Result<Graph> {
    let text = &config.text_config;
    let mut builder = Builder::new("CLIPTextModelWithProjection", tensors);
    let shape = vec![Side::Any("batch".into()), Side::Any("tokens".into())];
    let ids = builder.graph.input(INPUT_IDS, Kind::Int64, shape)?;
    let embeddings = "text_model.embeddings";
    let words = builder.weight(&format!("{embeddings}.token_embedding.weight"))?;
    let words = builder
        .graph
        .push(embeddings, "Gather", &[&words, &ids], &[("axis", Int(0))]);
    let count = builder.graph.push(
        "text_model",
        "Shape",
        &[&ids],
        &[("start", Int(1)), ("end", Int(2))],
    );
    let positions = builder.weight(&format!("{embeddings}.position_embedding.weight"))?;
    let positions = first(&mut builder, &positions, &count, 0)?;
    let mut x = builder
        .graph
        .push(embeddings, "Add", &[&words, &positions], &[]);
    let mask = causal_mask(text.max_position_embeddings)?;
    let mask = builder.graph.initializer("text_model/causal_mask", mask)?;
    let mask = first(&mut builder, &mask, &count, 0)?;
    let mask = first(&mut builder, &mask, &count, 1)?;
    let transformer = Transformer {
        names: &NAMES,
        width: text.hidden_size,
        heads: text.num_attention_heads,
        activation: text.hidden_act,
        eps: text.layer_norm_eps,
        mask: Some(&mask),
    };
    for index in 0..text.num_hidden_layers {
        x = builder.block(
            &x,
            &format!("text_model.encoder.layers.{index}"),
            transformer,
        )?;
    }
    let end = end(&mut builder, &ids, text)?;
    let pooled = builder.graph.push(
        "text_model",
        "GatherND",
        &[&x, &end],
        &[("batch_dims", Int(1))],
    );
    let pooled = builder.layer_norm(&pooled, "text_model.final_layer_norm", text.layer_norm_eps)?;
    let projected = builder.linear(&pooled, "text_projection")?;
    let embeds = builder.unit_rows(&projected, "text_projection");
    builder
        .graph
        .output(&embeds, "text_embeds", batch_of(&[config.projection_dim]))?;
    Ok(builder.graph)
}

/// The first `count` of `x` along an axis.
fn first(builder: &mut Builder, x: &str, count: &str, axis: i64) -> Result<String> {
    let (start, axis) = (
        builder.graph.integers(&[0])?,
        builder.graph.integers(&[axis])?,
    );
    Ok(builder
        .graph
        .push("text_model", "Slice", &[x, &start, count, &axis], &[]))
}

/// Minus infinity where a token comes later than the one that asks.
fn causal_mask(positions: i64) -> Result<Tensor> {
    let all = Tensor::f_full(
        [positions; 2],
        f64::NEG_INFINITY,
        (Kind::Float, Device::Cpu),
    )?;
    Ok(all.f_triu(1)?)
}

/// Where each sentence ends [N, 1]: at its first end token, or as transformers reads old configurations at its largest id.
fn end(builder: &mut Builder, ids: &str, text: &TextConfig) -> Result<String> {
    let scope = "text_model/end";
    let attributes = [("axis", Int(1)), ("keepdims", Int(1))];
    if text.eos_token_id == LEGACY_EOS {
        return Ok(builder.graph.push(scope, "ArgMax", &[ids], &attributes));
    }
    let token = builder.graph.integers(&[i64::from(text.eos_token_id)])?;
    let same = builder.graph.push(scope, "Equal", &[ids, &token], &[]);
    let same = builder
        .graph
        .push(scope, "Cast", &[&same], &[("to", Int(i64::from(INT32)))]);
    Ok(builder.graph.push(scope, "ArgMax", &[&same], &attributes))
}
