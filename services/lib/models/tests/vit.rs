//! ViT against transformers: logits, preprocessing, batches, directories, training.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{distance, expected, fixture, pictures};
use saga_models::tch::{Device, Kind, Reduction, Tensor, nn, nn::OptimizerConfig};
use saga_models::vit::{Config, SagaHead, VitClassifier};
use saga_models::{
    Checkpoint, Model as _, ModelError, Precision, Runtime, WeightMismatch, directory,
};
use std::path::Path;

const BF16: Runtime = Runtime {
    precision: Precision::Bf16,
    ..Runtime::REFERENCE
};

fn small(drop_path_rate: f64) -> Config {
    let config = Config {
        hidden_size: 32,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        intermediate_size: 64,
        image_size: 16,
        patch_size: 8,
        drop_path_rate,
        ..Config::default()
    };
    config.with_labels(["dark", "bright"])
}

#[test]
fn logits_equal_transformers() {
    for name in ["vit", "vit-saga-head"] {
        let expected = expected(name);
        let model = VitClassifier::load(&fixture(name), Runtime::REFERENCE).unwrap();
        assert_eq!(
            model.config().classes.names(),
            ["anger", "fear", "joy", "surprise"]
        );
        let logits = model.forward(&expected["pixel_values"]).unwrap();
        assert!(distance(&logits, &expected["logits"]) <= 1e-4, "{name}");
    }
}

#[test]
fn preprocessing_equals_transformers() {
    let preprocessor = Checkpoint::read(&fixture("vit"))
        .unwrap()
        .preprocessor()
        .unwrap();
    let pixels = preprocessor.batch(&pictures("vit")).unwrap();
    assert!(distance(&pixels, &expected("vit")["pixel_values"]) <= 1e-6);
}

#[test]
fn a_batch_equals_its_items_alone() {
    let pixels = &expected("vit")["pixel_values"];
    for runtime in [Runtime::REFERENCE, BF16] {
        let model = VitClassifier::load(&fixture("vit"), runtime).unwrap();
        let together = model.forward(pixels).unwrap();
        let alone: Vec<Tensor> = pixels
            .split(1, 0)
            .iter()
            .map(|item| model.forward(item).unwrap())
            .collect();
        let tolerance = if runtime == BF16 { 5e-2 } else { 1e-5 };
        assert!(distance(&together, &Tensor::cat(&alone, 0)) <= tolerance);
    }
}

#[test]
fn bf16_agrees_within_its_tolerance() {
    let expected = expected("vit");
    let model = VitClassifier::load(&fixture("vit"), BF16).unwrap();
    assert_eq!(model.precision(), Precision::Bf16);
    let logits = model.forward(&expected["pixel_values"]).unwrap();
    assert_eq!(logits.kind(), Kind::Float);
    let probabilities = |logits: &Tensor| logits.softmax(-1, Kind::Float);
    assert!(distance(&probabilities(&logits), &probabilities(&expected["logits"])) <= 0.02);
}

/// A model whose answer hangs on 1.001, which bf16 rounds to 1.
fn drifting_model(dir: &Path) {
    let model = VitClassifier::new(small(0.0), Runtime::REFERENCE, 3).unwrap();
    let weights = model.weights().tensors();
    let set = |name: &str, value: f64| {
        let _ = saga_models::tch::no_grad(|| weights[name].shallow_clone().fill_(value));
    };
    set("vit.layernorm.weight", 0.0);
    set("vit.layernorm.bias", 1.001);
    set("classifier.weight", 0.0);
    saga_models::tch::no_grad(|| {
        let _ = weights["classifier.weight"].get(1).get(0).fill_(1e4);
        let _ = weights["classifier.bias"].get(1).fill_(-10_005.0);
    });
    save(&model, dir);
}

#[test]
fn the_canary_refuses_bf16_that_drifts_and_falls_back_where_it_may() {
    let dir = tempfile::tempdir().unwrap();
    drifting_model(dir.path());
    assert!(matches!(
        VitClassifier::load(dir.path(), BF16),
        Err(ModelError::Precision { .. })
    ));
    let fallen = VitClassifier::load(
        dir.path(),
        Runtime {
            may_fall_back: true,
            ..BF16
        },
    )
    .unwrap();
    assert_eq!(fallen.precision(), Precision::F32);
    let reference = VitClassifier::load(dir.path(), Runtime::REFERENCE).unwrap();
    let pixels = Tensor::ones([1, 3, 16, 16], (Kind::Float, Device::Cpu));
    assert_eq!(
        distance(
            &fallen.forward(&pixels).unwrap(),
            &reference.forward(&pixels).unwrap()
        ),
        0.0
    );
}

fn save(model: &VitClassifier, dir: &Path) {
    directory::write_json(&dir.join(directory::CONFIG), model.config()).unwrap();
    model.weights().save(&dir.join(directory::WEIGHTS)).unwrap();
}

#[test]
fn a_saved_model_loads_the_same() {
    for saga_head in [
        None,
        Some(SagaHead {
            hidden: 8,
            dropout: 0.3,
        }),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let model = VitClassifier::new(
            Config {
                saga_head,
                ..small(0.1)
            },
            Runtime::REFERENCE,
            7,
        )
        .unwrap();
        save(&model, dir.path());
        let back = VitClassifier::load_to_train(dir.path(), Runtime::REFERENCE).unwrap();
        assert_eq!(back.config(), model.config());
        let pixels = Tensor::rand([2, 3, 16, 16], (Kind::Float, Device::Cpu));
        let served = VitClassifier::load(dir.path(), Runtime::REFERENCE).unwrap();
        let logits = served.forward(&pixels).unwrap();
        // The same numbers in another order of sums.
        assert!(distance(&model.forward(&pixels).unwrap(), &logits) < 1e-6);
        assert_eq!(
            distance(
                &model.forward(&pixels).unwrap(),
                &back.forward(&pixels).unwrap()
            ),
            0.0
        );
    }
}

#[test]
fn a_seed_gives_the_same_weights() {
    let weights = |seed| {
        let model = VitClassifier::new(small(0.0), Runtime::REFERENCE, seed).unwrap();
        model.weights().tensors()["vit.encoder.layer.1.output.dense.weight"].copy()
    };
    assert_eq!(distance(&weights(1), &weights(1)), 0.0);
    assert!(distance(&weights(1), &weights(2)) > 0.0);
    assert!((weights(1).std(true).double_value(&[]) - 0.02).abs() < 0.002);
}

#[test]
fn weights_that_do_not_fit_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = small(0.0);
    save(
        &VitClassifier::new(config.clone(), Runtime::REFERENCE, 1).unwrap(),
        dir.path(),
    );
    config.num_hidden_layers = 1;
    config.saga_head = Some(SagaHead {
        hidden: 8,
        dropout: 0.3,
    });
    config.patch_size = 4;
    directory::write_json(&dir.path().join(directory::CONFIG), &config).unwrap();
    let Err(ModelError::Weights(WeightMismatch {
        missing,
        surplus,
        misshapen,
    })) = VitClassifier::load(dir.path(), Runtime::REFERENCE).map(|_| ())
    else {
        panic!("a mismatch was not noticed")
    };
    // The batch normalisation's counter carries nothing.
    assert_eq!(missing.len(), 8, "{missing:?}");
    assert_eq!(surplus.len(), 2 + 16, "{surplus:?}");
    assert_eq!(
        misshapen,
        [
            "vit.embeddings.patch_embeddings.projection.weight: expected [32, 3, 4, 4] Float, found [32, 3, 8, 8] Float",
            "vit.embeddings.position_embeddings: expected [1, 17, 32] Float, found [1, 5, 32] Float",
        ]
    );
}

#[test]
fn broken_files_and_pixels_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let load = || VitClassifier::load(dir.path(), Runtime::REFERENCE).map(|_| ());
    assert!(matches!(load(), Err(ModelError::Io { .. })));
    std::fs::write(dir.path().join(directory::CONFIG), "{").unwrap();
    assert!(matches!(load(), Err(ModelError::Json { .. })));
    directory::write_json(&dir.path().join(directory::CONFIG), &small(0.0)).unwrap();
    std::fs::write(dir.path().join(directory::WEIGHTS), "not safetensors").unwrap();
    assert!(matches!(load(), Err(ModelError::Safetensors { .. })));
    let model = VitClassifier::new(small(0.0), Runtime::REFERENCE, 1).unwrap();
    for shape in [vec![1, 3, 16, 8], vec![0, 3, 16, 16], vec![3, 16, 16]] {
        let pixels = Tensor::zeros(&shape, (Kind::Float, Device::Cpu));
        assert!(
            matches!(model.forward(&pixels), Err(ModelError::Input(_))),
            "{shape:?}"
        );
    }
}

/// Bright and dark noise, told apart within a few steps, in both precisions and with both heads.
#[test]
fn learns() {
    for (precision, saga_head) in [
        (Precision::F32, None),
        (
            Precision::Bf16,
            Some(SagaHead {
                hidden: 8,
                dropout: 0.1,
            }),
        ),
    ] {
        let runtime = Runtime {
            precision,
            ..Runtime::REFERENCE
        };
        let model = VitClassifier::new(
            Config {
                saga_head,
                ..small(0.1)
            },
            runtime,
            1,
        )
        .unwrap();
        let mut optimizer = nn::AdamW::default()
            .build(model.weights().var_store(), 3e-3)
            .unwrap();
        let classes = Tensor::from_slice(&[0_i64, 1].repeat(8));
        let shift = classes.to_kind(Kind::Float).reshape([16, 1, 1, 1]) - 0.5;
        let pixels = Tensor::sin(&Tensor::arange(
            16 * 3 * 16 * 16,
            (Kind::Float, Device::Cpu),
        ))
        .reshape([16, 3, 16, 16])
            + shift;
        for _ in 0..20 {
            let logits = model.forward_t(&pixels, true).unwrap();
            optimizer.backward_step(&logits.cross_entropy_loss::<Tensor>(
                &classes,
                None,
                Reduction::Mean,
                -100,
                0.0,
            ));
        }
        let right = model
            .forward(&pixels)
            .unwrap()
            .argmax(-1, false)
            .eq_tensor(&classes)
            .sum(Kind::Int64);
        assert_eq!(right.int64_value(&[]), 16, "{precision}");
    }
}
