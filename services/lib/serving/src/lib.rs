//! What services with weights share.
//!
//! - [`Registry`]: models by name, swapped without losing a request; [`ModelServer`] is its `saga.model.v1.ModelService`
//! - [`Follow`]: the version that the label store's model registry promotes serves
//! - [`open_inference`]: the same models for KServe and Triton clients
//! - [`Worker`]: a model's thread with its batches; failures that stick turn readiness off
//! - [`Decoding`]: a bounded pool that turns encoded images into pixel values, so that queues hold compressed bytes
//! - [`Work`]: the section of their configuration that is about threads and batches
//!
//! This crate knows the transport and no tensors: a service brings a [`Loader`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod config;
mod decoding;
mod follow;
mod model_service;
pub mod open_inference;
mod registry;
mod softmax;
mod worker;

pub use config::Work;
pub use decoding::{Decoded, Decoding, Preprocess, timing};
pub use follow::Follow;
pub use model_service::ModelServer;
pub use registry::{Held, LoadError, Loader, Registry};
pub use softmax::softmax;
pub use worker::Worker;
