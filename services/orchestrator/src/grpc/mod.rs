//! gRPC transport: messages in, domain calls, messages out. Statuses are made in `guard/error.rs` and `run/error.rs`.

mod evaluation;
mod guard;
mod orchestrator;

pub use evaluation::EvaluationGrpc;
pub use guard::GuardGrpc;
pub use orchestrator::OrchestratorGrpc;
