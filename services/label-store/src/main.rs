//! The `label-store` process.

use std::process::ExitCode;

use saga_chassis::CommonArgs;

fn main() -> ExitCode {
    saga_chassis::main_of::<CommonArgs, label_store::Config, _, _>(label_store::start)
}
