//! The `quality-gate` binary.

use std::process::ExitCode;

use saga_chassis::CommonArgs;

fn main() -> ExitCode {
    saga_chassis::main_of::<CommonArgs, quality_gate::Config, _, _>(quality_gate::start)
}
