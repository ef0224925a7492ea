//! What evaluations conclude from, in plain numbers: no tensors, no gRPC, no image.
//!
//! - [`bootstrap`]: differences between models with intervals, over images and seeds
//! - [`holm`]: many tests at once
//! - [`verdict`]: whether synthetic images should be merged, in one word and in words
//! - [`binomial`] and [`threshold`]: bounds on the share of bad accepts, and the thresholds that keep them
//! - [`calibration_error`]: whether a classifier is as sure as it is right
//! - [`frechet`] and [`kernel`]: how far two sets of features lie apart

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod binomial;
pub mod bootstrap;
mod calibration_error;
mod features;
pub mod frechet;
mod holm;
pub mod kernel;
mod matrix;
pub mod threshold;
pub mod verdict;

pub use calibration_error::expected_calibration_error;
pub use features::{FeatureError, Features};
pub use holm::holm;
