//! The `ssim-gate` binary.

use std::process::ExitCode;

use saga_chassis::CommonArgs;

fn main() -> ExitCode {
    saga_chassis::main_of::<CommonArgs, ssim_gate::Config, _, _>(ssim_gate::start)
}
