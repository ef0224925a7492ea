//! Models in the forms that other programs load.
//!
//! | module | form | read by |
//! |---|---|---|
//! | [`onnx`] | ONNX, in f32, f16 and 8-bit integers | onnxruntime, TensorRT, OpenVINO |
//!
//! This crate knows files and tensors, and no command line. Everything starts from a model directory that saga-models loads, so
//! that what cannot be loaded is not exported either.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod bytes;
mod error;
pub mod onnx;

pub use error::ExportError;
