//! Each part alone, on the figures that diffusers' and transformers' own gave.

use crate::{PROMPTS, assert_near, group, pipeline};
use saga_models::Runtime;
use saga_models::diffusion::text_encoder::TextEncoder;
use saga_models::diffusion::unet::UNet2DConditionModel;
use saga_models::diffusion::vae::AutoencoderKL;

#[test]
fn unets_predict_the_same() {
    for name in ["sd", "sd-v", "instruct"] {
        let dir = pipeline(name).join("unet");
        let unet = UNet2DConditionModel::load(&dir, Runtime::REFERENCE, Ok).unwrap();
        let figures = group(name, "unet");
        let found = unet.forward(&figures["latents"], 321.0, &figures["context"]);
        assert_near(&found.unwrap(), &figures["output"], name);
    }
}

#[test]
fn texts_are_embedded_the_same() {
    for name in ["sd", "sd-v"] {
        let encoder = TextEncoder::load(&pipeline(name), Runtime::REFERENCE, Ok).unwrap();
        let found = encoder.forward(&PROMPTS).unwrap();
        assert_near(&found, &group(name, "text")["hidden"], name);
    }
}

#[test]
fn autoencoders_encode_and_decode_the_same_whole_and_in_tiles() {
    let figures = group("sd", "vae");
    let mut vae = AutoencoderKL::load(&pipeline("sd").join("vae"), Runtime::REFERENCE).unwrap();
    let posterior = vae.encode(&figures["images"]).unwrap();
    assert_near(&posterior.mean, &figures["mean"], "mean");
    assert_near(&posterior.deviation, &figures["deviation"], "deviation");
    let decoded = vae.decode(&figures["latents"]).unwrap();
    assert_near(&decoded, &figures["decoded"], "decoded");
    vae.tiling = true;
    let posterior = vae.encode(&figures["large"]).unwrap();
    assert_near(&posterior.mean, &figures["tiled_mean"], "mean in tiles");
    let decoded = vae.decode(&figures["wide"]).unwrap();
    assert_near(&decoded, &figures["tiled_decoded"], "decoded in tiles");
}
