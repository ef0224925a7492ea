//! Kernels that models are served with on a CPU, where libtorch's own operators leave time on the table.
//!
//! - [`PackedLinear`]: oneDNN's linear maps, fused with what follows them
//! - [`PackedConv2d`]: oneDNN's convolutions, the weight reordered once
//! - [`QuantizedLinear`]: the same in 8-bit integers
//! - [`attention`]: of short sequences in bf16, with AVX-512 or AMX
//!
//! Each tells whether it can serve ([`linear::available`], [`convolution::available`], [`quantized::available`], [`attends`]); callers have libtorch's operators for everything else. The
//! C++ half of each lies beside it.

mod attention;
pub mod convolution;
mod ffi;
pub mod linear;
pub mod quantized;

pub use attention::{attends, attention};
pub use convolution::PackedConv2d;
pub use linear::{PackedLinear, Then};
pub use quantized::{QuantizedLinear, Ranges};
