//! Models in the forms that other programs load.
//!
//! | module | form | read by |
//! |---|---|---|
//! | [`onnx`] | ONNX, in f32, f16 and 8-bit integers | onnxruntime, TensorRT, OpenVINO |
//! | [`huggingface`] | a model directory with a model card | transformers |
//! | [`pth`] | a state dict | PyTorch |
//! | [`hub`] | a published folder | the Hugging Face hub |
//!
//! Each file takes its name once it is whole, as [`write`] does it.
//!
//! This crate knows files, tensors and the hub, and no command line. What is exported starts from a model directory that saga-models
//! loads: what cannot be loaded is not exported either.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod bytes;
mod error;
mod file;
pub mod hub;
pub mod huggingface;
pub mod onnx;
pub mod pth;
mod source;

pub use error::ExportError;
pub use file::{Written, write};
