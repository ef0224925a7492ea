//! The `generator` process.

use std::process::ExitCode;

use saga_chassis::CommonArgs;

fn main() -> ExitCode {
    saga_chassis::main_of::<CommonArgs, generator::Config, _, _>(generator::start)
}
