//! CLIP against transformers: tokens, embeddings, preprocessing, batches, training.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{distance, expected, fixture, pictures};
use saga_models::clip::{Clip, Config, TextConfig, VisionConfig};
use saga_models::tch::{Device, Kind, Tensor, nn, nn::OptimizerConfig};
use saga_models::tokenizer::{Tokenizer, Tokens};
use saga_models::{Checkpoint, Model as _, ModelError, Precision, Runtime, directory};

const FIXTURES: [&str; 2] = ["clip", "clip-legacy"];
const BF16: Runtime = Runtime {
    precision: Precision::Bf16,
    ..Runtime::REFERENCE
};

fn sentences(name: &str) -> Vec<Tokens> {
    let tokenizer = Tokenizer::from_dir(&fixture(name), 16).unwrap();
    let prompts = std::fs::read(fixture(name).join("prompts.json")).unwrap();
    let prompts: Vec<String> = serde_json::from_slice(&prompts).unwrap();
    prompts
        .iter()
        .map(|prompt| tokenizer.encode(prompt).unwrap())
        .collect()
}

#[test]
fn tokens_equal_transformers() {
    for name in FIXTURES {
        let ids = &expected(name)["input_ids"];
        let sentences = sentences(name);
        for (row, tokens) in (0..).zip(&sentences) {
            let wanted: Vec<i64> = Vec::try_from(ids.get(row)).unwrap();
            let found: Vec<i64> = tokens.ids.iter().map(|&id| i64::from(id)).collect();
            assert_eq!(found, wanted[..found.len()]);
            let end = wanted[found.len() - 1];
            assert!(wanted[found.len()..].iter().all(|&padding| padding == end));
        }
        let truncated: Vec<bool> = sentences.iter().map(|tokens| tokens.truncated).collect();
        assert_eq!(truncated.last(), Some(&true));
        assert!(!truncated[2] && !truncated[3]);
    }
}

#[test]
fn words_and_merges_tokenise_as_the_tokenizer_they_are_taken_from() {
    let path = fixture(FIXTURES[0]).join(directory::TOKENIZER);
    let whole: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let vocab = whole["model"]["vocab"].to_string();
    std::fs::write(dir.path().join(directory::VOCAB), vocab).unwrap();
    let merges = whole["model"]["merges"].as_array().unwrap().iter();
    let words = |pair: &serde_json::Value| [0, 1].map(|i| pair[i].as_str().unwrap().to_owned());
    let lines: Vec<String> = merges.map(|pair| words(pair).join(" ")).collect();
    let text = format!("#version: 0.2\n{}\n", lines.join("\n"));
    std::fs::write(dir.path().join(directory::MERGES), text).unwrap();
    let lone = Tokenizer::from_dir(dir.path(), 16).unwrap();
    let reference = Tokenizer::from_dir(&fixture(FIXTURES[0]), 16).unwrap();
    for sentence in [
        "A photo of a  HAPPY face!",
        "it's 2 o'clock: zürich, 東京 😀",
        "",
        "fear",
    ] {
        assert_eq!(
            lone.encode(sentence).unwrap(),
            reference.encode(sentence).unwrap()
        );
    }
}

#[test]
fn embeddings_equal_transformers() {
    for name in FIXTURES {
        let expected = expected(name);
        let model = Clip::load(&fixture(name), Runtime::REFERENCE).unwrap();
        let images = model.image_embeds(&expected["pixel_values"]).unwrap();
        let texts = model.text_embeds(&sentences(name)).unwrap();
        assert!(
            distance(&images, &expected["image_embeds"]) <= 1e-4,
            "{name}"
        );
        assert!(distance(&texts, &expected["text_embeds"]) <= 1e-4, "{name}");
        let logits = images.matmul(&texts.tr()) * model.logit_scale().unwrap();
        assert!(
            distance(&logits, &expected["logits_per_image"]) <= 1e-3,
            "{name}"
        );
    }
}

#[test]
fn preprocessing_equals_transformers() {
    let preprocessor = Checkpoint::read(&fixture("clip"))
        .unwrap()
        .preprocessor()
        .unwrap();
    let pixels = preprocessor.batch(&pictures("clip")).unwrap();
    assert!(distance(&pixels, &expected("clip")["pixel_values"]) <= 1e-6);
}

#[test]
fn a_batch_equals_its_items_alone() {
    let (sentences, pixels) = (sentences("clip"), &expected("clip")["pixel_values"]);
    for (runtime, tolerance) in [(Runtime::REFERENCE, 1e-5), (BF16, 2e-2)] {
        let model = Clip::load(&fixture("clip"), runtime).unwrap();
        let texts: Vec<Tensor> = sentences
            .chunks(1)
            .map(|one| model.text_embeds(one).unwrap())
            .collect();
        assert!(
            distance(
                &model.text_embeds(&sentences).unwrap(),
                &Tensor::cat(&texts, 0)
            ) <= tolerance
        );
        let images: Vec<Tensor> = pixels
            .split(1, 0)
            .iter()
            .map(|one| model.image_embeds(one).unwrap())
            .collect();
        assert!(
            distance(
                &model.image_embeds(pixels).unwrap(),
                &Tensor::cat(&images, 0)
            ) <= tolerance
        );
    }
}

#[test]
fn bf16_agrees_within_its_tolerance() {
    let expected = expected("clip");
    let model = Clip::load(&fixture("clip"), BF16).unwrap();
    assert_eq!(model.precision(), Precision::Bf16);
    let cosine = |a: &Tensor, b: &Tensor| {
        (a * b)
            .sum_dim_intlist(-1, false, Kind::Float)
            .min()
            .double_value(&[])
    };
    assert!(
        cosine(
            &model.image_embeds(&expected["pixel_values"]).unwrap(),
            &expected["image_embeds"]
        ) > 0.995
    );
    assert!(
        cosine(
            &model.text_embeds(&sentences("clip")).unwrap(),
            &expected["text_embeds"]
        ) > 0.995
    );
}

#[test]
fn sentences_the_model_cannot_read_are_errors() {
    let model = Clip::load(&fixture("clip"), Runtime::REFERENCE).unwrap();
    let refused = |ids: Vec<u32>| {
        let tokens = Tokens {
            ids,
            truncated: false,
        };
        matches!(model.text_embeds(&[tokens]), Err(ModelError::Input(_)))
    };
    let eos = model.config().text_config.eos_token_id;
    assert!(refused(vec![]));
    assert!(refused(vec![1, 2, 3]));
    assert!(refused(vec![1, 1_000_000, eos]));
    assert!(refused([vec![1; 16], vec![eos]].concat()));
    assert!(matches!(model.text_embeds(&[]), Err(ModelError::Input(_))));
}

fn small(tokenizer: &Tokenizer) -> Config {
    let (bos_token_id, eos_token_id) = tokenizer.bos_and_eos().unwrap();
    Config {
        projection_dim: 16,
        text_config: TextConfig {
            vocab_size: tokenizer.vocab_size() as i64,
            hidden_size: 32,
            intermediate_size: 64,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            max_position_embeddings: 16,
            bos_token_id,
            eos_token_id,
            pad_token_id: eos_token_id,
            ..TextConfig::default()
        },
        vision_config: VisionConfig {
            hidden_size: 32,
            intermediate_size: 64,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            image_size: 16,
            patch_size: 8,
            ..VisionConfig::default()
        },
        ..Config::default()
    }
}

#[test]
fn learns_to_match_and_loads_the_same() {
    let captions = ["a dark picture", "a bright picture"];
    let tokenizer = Tokenizer::train(captions, 50, 16).unwrap();
    let sentences = captions.map(|caption| tokenizer.encode(caption).unwrap());
    let model = Clip::new(small(&tokenizer), Runtime::REFERENCE, 1).unwrap();
    let mut optimizer = nn::AdamW::default()
        .build(model.weights().var_store(), 3e-3)
        .unwrap();
    let caption_ids = [0_i64, 1].repeat(4);
    let wanted = Tensor::from_slice(&caption_ids);
    let shift = wanted.to_kind(Kind::Float).reshape([8, 1, 1, 1]) - 0.5;
    let pixels = Tensor::sin(&Tensor::arange(8 * 3 * 16 * 16, (Kind::Float, Device::Cpu)))
        .reshape([8, 3, 16, 16])
        + shift;
    for _ in 0..20 {
        let images = model.image_embeds_t(&pixels).unwrap();
        let texts = model.text_embeds_t(&sentences).unwrap();
        let logits = images.matmul(&texts.tr()) * model.log_scale().exp();
        let loss = logits.cross_entropy_for_logits(&wanted);
        optimizer.backward_step(&loss);
    }
    let scores = |model: &Clip| {
        model
            .image_embeds(&pixels)
            .unwrap()
            .matmul(&model.text_embeds(&sentences).unwrap().tr())
    };
    let chosen: Vec<i64> = Vec::try_from(scores(&model).argmax(-1, false)).unwrap();
    assert_eq!(chosen, caption_ids);

    let dir = tempfile::tempdir().unwrap();
    directory::write_json(&dir.path().join(directory::CONFIG), model.config()).unwrap();
    model
        .weights()
        .save(&dir.path().join(directory::WEIGHTS))
        .unwrap();
    let back = Clip::load_to_train(dir.path(), Runtime::REFERENCE).unwrap();
    assert_eq!(distance(&scores(&back), &scores(&model)), 0.0);
    let served = Clip::load(dir.path(), Runtime::REFERENCE).unwrap();
    // The same numbers in another order of sums.
    assert!(distance(&scores(&served), &scores(&model)) < 1e-6);
}
