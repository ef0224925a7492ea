//! `saga model`: checkpoints of other libraries, 8-bit integers, the models that a service holds, and the registry of versions.

mod import;
mod quantize;
mod registry;
mod served;

use anyhow::Result;

pub use quantize::Pictures;

use crate::args::{Global, ModelCommand};

pub async fn model(global: &Global, command: ModelCommand) -> Result<()> {
    match command {
        ModelCommand::Import(args) => import::import_file(global, args).await,
        ModelCommand::Quantize(args) => quantize::quantize_model(global, args).await,
        ModelCommand::Load(args) => served::load(global, args).await,
        ModelCommand::List(args) => served::list(global, args).await,
        ModelCommand::Rollback(args) => served::rollback(global, args).await,
        ModelCommand::Unload(args) => served::unload(global, args).await,
        ModelCommand::Registry(command) => registry::registry(global, command).await,
    }
}
