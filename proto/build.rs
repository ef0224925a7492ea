//! Compiles the `.proto` files of this folder with protox, so that no protoc needs to be installed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

/// Every file of the contract, relative to this folder.
const FILES: &[&str] = &[
    "saga/type/v1/types.proto",
    "saga/gate/v1/gate.proto",
    "saga/guard/v1/guard.proto",
    "saga/model/v1/model.proto",
    "saga/ssim/v1/ssim.proto",
    "saga/clip/v1/clip.proto",
    "saga/classifier/v1/classifier.proto",
    "saga/classifier/v1/explain.proto",
    "saga/generator/v1/generator.proto",
    "saga/trainer/v1/trainer.proto",
    "saga/labelstore/v1/dataset.proto",
    "saga/labelstore/v1/golden.proto",
    "saga/labelstore/v1/ledger.proto",
    "saga/labelstore/v1/registry.proto",
    "saga/labelstore/v1/run.proto",
    "saga/orchestrator/v1/orchestrator.proto",
    "saga/evaluation/v1/evaluation.proto",
    "inference/grpc_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=saga");
    println!("cargo:rerun-if-changed=inference");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("saga_descriptor.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .compile_fds(descriptors)?;
    Ok(())
}
