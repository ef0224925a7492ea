//! What a classifier looks at, as a map over the pixels of one image, and how well such maps hold up.
//!
//! | method | asks the model for | follows |
//! |---|---|---|
//! | [`Method::GradCam`] | the gradient of a logit | Selvaraju et al. 2017, as pytorch-grad-cam |
//! | [`Method::GradCamPlusPlus`] | the same | Chattopadhyay et al. 2018, as pytorch-grad-cam |
//! | [`Method::AttentionRollout`] | attention of every block | Abnar and Zuidema 2020 |
//! | [`Method::KernelShap`] | probabilities with regions hidden | Lundberg and Lee 2017, as shap's `KernelExplainer` |
//! | [`Method::Lime`] | the same | Ribeiro et al. 2016, as lime's `LimeImageExplainer` |
//!
//! Deletion and insertion [`Curves`] (Petsiuk et al. 2018) rank them. `tests/parity.rs` holds what the references said of tiny
//! models, `tests/fixtures/make.py` the script that asked them: maps of Grad-CAM and Grad-CAM++ are theirs within 1e-4, rollout,
//! the answers under a mask and LIME's coefficients within 1e-5, KernelSHAP's values and LIME's from the recorded answers within
//! 1e-6, superpixels the same. The crate knows tensors, and no transport.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod cam;
mod curves;
mod error;
mod heatmap;
pub mod kernel_shap;
mod least_squares;
pub mod lime;
mod masked;
mod method;
mod overlay;
mod quickshift;
pub mod rollout;
mod subject;

pub use curves::{Curve, Curves, STEPS};
pub use error::ExplainError;
pub use heatmap::Heatmap;
pub use masked::Masked;
pub use method::{MAX_SAMPLES, Method, Question, class_of, explain};
pub use overlay::overlay;
pub use quickshift::quickshift;
pub use subject::{MAX_PIXELS, Picture, Subject, Twin};
