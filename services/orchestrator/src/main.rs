//! The orchestrator as a process.

fn main() -> std::process::ExitCode {
    saga_chassis::main_of::<saga_chassis::CommonArgs, orchestrator::Config, _, _>(
        orchestrator::start,
    )
}
