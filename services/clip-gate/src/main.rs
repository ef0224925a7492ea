//! The `clip-gate` binary.

use std::process::ExitCode;

use saga_chassis::args::ModelServiceArgs;

fn main() -> ExitCode {
    saga_chassis::main_of::<ModelServiceArgs, clip_gate::Config, _, _>(clip_gate::start)
}
