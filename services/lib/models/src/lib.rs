//! SAGA's models on libtorch (tch): vision transformer, CLIP and Stable Diffusion, with their weights, tokenizers and preprocessing.
//!
//! One file a model; field paths mirror the keys of the checkpoints that Hugging Face's libraries write, and
//! the figures equal theirs to 1e-4 in f32. This crate knows tensors and files, and no transport.
//!
//! A model lives on one thread: tensors are `Send` but not `Sync`, so the owner moves it to its worker.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod checkpoint;
pub mod checksums;
mod classifier;
pub mod clip;
pub mod diffusion;
pub mod directory;
mod environment;
mod error;
mod fused;
pub mod golden;
pub mod int8;
mod labels;
mod layers;
mod model;
pub mod pickle;
pub mod preprocess;
pub mod resnet;
pub mod runtime;
mod stored;
pub mod tokenizer;
mod transformer;
pub mod vit;
pub mod weights;

pub use checkpoint::Checkpoint;
pub use classifier::Classifier;
pub use environment::Environment;
pub use error::{ModelError, WeightMismatch};
pub use labels::Labels;
pub use layers::{Activation, QUICK_GELU};
pub use model::{Base, Model};
pub use runtime::{Precision, Runtime};
pub use stored::Stored;
pub use tch;
pub use transformer::Names;
