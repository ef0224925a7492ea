//! `saga model`: checkpoints of other libraries, 8-bit integers, and the models that a service holds.

mod import;
mod quantize;
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
    }
}
