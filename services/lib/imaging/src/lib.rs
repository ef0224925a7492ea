//! Images as SAGA's services need them: decoding under limits, and the measures that gates judge by.
//!
//! Every figure with a well-known name equals its reference implementation (Pillow, scikit-image, imagehash, OpenCV);
//! `tests/parity.rs` holds the numbers that those wrote, and `tests/fixtures/make.py` the script that made them.
//! The crate knows neither tensors nor transport.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod decode;
mod encode;
mod faces;
mod frames;
mod grey;
mod jpeg;
mod mode;
mod phash;
mod resize;
mod sharpness;
mod ssim;

pub use decode::{DecodeError, DecodeLimits, decode};
pub use encode::{EncodeError, blake3_hex, encode_jpeg, encode_jpeg_grey};
pub use faces::{Face, FaceDetector, FaceError};
pub use grey::{grey, is_grey};
pub use image::{GrayImage, Luma, Rgb, RgbImage};
pub use mode::mode;
pub use phash::{hamming, phash};
pub use resize::{Filter, Part, resize, resize_grey, resize_part, scaled_to_shorter};
pub use sharpness::laplacian_variance;
pub use ssim::{SsimError, WINDOW as SSIM_WINDOW, ssim, ssim_map};
