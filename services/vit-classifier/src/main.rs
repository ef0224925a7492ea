//! The `vit-classifier` binary.

use std::process::ExitCode;

use saga_chassis::args::ModelServiceArgs;

fn main() -> ExitCode {
    saga_chassis::main_of::<ModelServiceArgs, vit_classifier::Config, _, _>(vit_classifier::start)
}
