//! Sizes and milliseconds an image of a classifier here and of its ONNX files in onnxruntime, on as many threads:
//! `SAGA_ONNXRUNTIME=FOLDER cargo run -p saga-export --example onnx_speed -- MODEL_DIR FILE.onnx...`. libtorch does the arithmetic, so that an
//! unoptimised build measures the same.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use saga_models::checkpoint::Checkpoint;
use saga_models::tch::{Kind, Tensor, get_num_threads};
use saga_models::{Classifier, Precision, Runtime, directory};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const BATCHES: [i64; 2] = [1, 16];
const ROUNDS: usize = 5;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().expect("name a model directory");
    let dir = Path::new(&dir);
    let bytes = dir.join(directory::WEIGHTS).metadata().unwrap().len();
    for precision in [Precision::F32, Precision::Bf16] {
        let checkpoint = Checkpoint::read(dir).unwrap();
        let (height, width) = checkpoint.preprocessor().unwrap().output_size();
        let model = Classifier::from_checkpoint(
            checkpoint,
            Runtime {
                precision,
                ..Runtime::REFERENCE
            },
        )
        .unwrap();
        for batch in BATCHES {
            let shape = [batch, 3, height.into(), width.into()];
            let pixels = Tensor::rand(shape, (Kind::Float, saga_models::tch::Device::Cpu));
            let best = best(|| drop(model.forward(&pixels).unwrap()));
            let (megabytes, milliseconds) = (bytes as f64 / 1e6, best * 1e3 / batch as f64);
            println!(
                "SAGA {precision}, {megabytes:.1} MB, batch {batch}: {milliseconds:.2} ms an image"
            );
        }
    }
    let status = Command::new("python3")
        .env(
            "PYTHONPATH",
            std::env::var_os("SAGA_ONNXRUNTIME").unwrap_or_default(),
        )
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/examples/onnx_speed.py"
        ))
        .arg(get_num_threads().to_string())
        .args(arguments)
        .status();
    assert!(status.unwrap().success());
}

/// Seconds of the best of some rounds, after one to warm up.
fn best(mut step: impl FnMut()) -> f64 {
    step();
    let mut round = || {
        let start = Instant::now();
        step();
        start.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}
