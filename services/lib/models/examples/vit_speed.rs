//! Images a second of small ViTs, forward and with backward, in each precision: `cargo run --example vit_speed`.
//! libtorch does the arithmetic, so that an unoptimised build measures the same.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use saga_models::tch::{Kind, Reduction, Tensor};
use saga_models::vit::{Config, VitClassifier};
use saga_models::{Model as _, Precision, Runtime};
use std::time::Instant;

const BATCH: i64 = 64;

fn main() {
    let device = std::env::args().nth(1).unwrap_or_else(|| "cpu".into());
    let runtime = Runtime::select(&device, "f32").unwrap();
    for hidden_size in [128, 192] {
        for precision in [Precision::F32, Precision::Bf16] {
            measure(
                hidden_size,
                Runtime {
                    precision,
                    ..runtime
                },
            );
        }
    }
}

fn measure(hidden_size: i64, runtime: Runtime) {
    let config = Config {
        hidden_size,
        num_hidden_layers: 6,
        num_attention_heads: hidden_size / 32,
        intermediate_size: 4 * hidden_size,
        image_size: 64,
        patch_size: 8,
        ..Config::default()
    };
    let model = VitClassifier::new(config, runtime, 0).unwrap();
    let pixels = Tensor::rand([BATCH, 3, 64, 64], (Kind::Float, runtime.device));
    let classes = Tensor::zeros([BATCH], (Kind::Int64, runtime.device));
    let forward = images_per_second(|| {
        let logits = model.forward(&pixels).unwrap();
        let _ = logits.sum(Kind::Float).double_value(&[]);
    });
    let both = images_per_second(|| {
        let logits = model.forward_t(&pixels, true).unwrap();
        let loss = logits.cross_entropy_loss::<Tensor>(&classes, None, Reduction::Mean, -100, 0.0);
        loss.backward();
        let _ = loss.double_value(&[]);
    });
    println!(
        "width {hidden_size}, {}: forward {forward:.0}/s, forward and backward {both:.0}/s",
        runtime.precision
    );
}

/// The best of three rounds, after one to warm up.
fn images_per_second(mut step: impl FnMut()) -> f64 {
    let mut round = || {
        let start = Instant::now();
        (0..3).for_each(|_| step());
        3.0 * BATCH as f64 / start.elapsed().as_secs_f64()
    };
    round();
    (0..3).map(|_| round()).fold(0.0, f64::max)
}
