//! Everything that gates share, so that a gate is one [`Gate`] implementation: how it scores one candidate.
//!
//! [`GateServer`] turns it into `saga.gate.v1.GateService`: it checks each item against what the gate's description
//! says (inputs needed, thresholds and their ranges, sizes, hashes), runs streams with bounded concurrency and an
//! answer for each item, compares the score with the thresholds, and writes the verdict.
//!
//! Unary calls shed where the queue is full; streams wait. A call's metadata may state its priority. [`submit`] does as the
//! [`Call`] says.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod call;
mod image;
mod limits;
mod server;
mod thresholds;
mod timing;
mod verdict;

pub use call::{Call, admit, submit};
pub use image::{EncodedImage, check_image, decode_error};
pub use limits::Limits;
pub use server::{Gate, GateLimits, GateServer};
pub use thresholds::Thresholds;
pub use timing::timing;
pub use verdict::{Candidate, Judgement};
