//! One file a command.

mod calibrate;
mod classify;
mod data;
mod demo;
mod describe;
mod doctor;
mod estimate;
mod eval;
mod explain;
mod export;
mod follow;
mod guard;
pub mod load;
mod model;
mod pool;
mod publish;
mod run;
mod up;
mod verify;

use anyhow::Result;

use crate::args::{Cli, Command, DataCommand};

/// Runs the command that was asked for.
pub async fn dispatch(cli: Cli) -> Result<()> {
    let global = cli.global;
    match cli.command {
        Command::Demo(args) => demo::demo(&global, args).await,
        Command::Run(args) if args.estimate => estimate::estimate(&global, &args).await,
        Command::Run(args) => run::run(&global, args).await,
        Command::Eval(args) => eval::eval(&global, args).await,
        Command::Pool(args) => pool::pool(&global, &args),
        Command::Calibrate(args) => calibrate::calibrate(&global, args).await,
        Command::Up(args) => up::up(&global, args).await,
        Command::Guard(args) => guard::guard(&global, args).await,
        Command::Classify(args) => classify::classify(&global, args).await,
        Command::Describe(args) => describe::describe(&global, args).await,
        Command::Explain(args) => explain::explain(&global, args).await,
        Command::Verify(args) => verify::verify(&global, &args),
        Command::Load(args) => load::load(&global, args).await,
        Command::Data(DataCommand::Studio(args)) => data::studio(&global, args).await,
        Command::Data(DataCommand::Stats(args)) => data::stats(&global, args).await,
        Command::Model(command) => model::model(&global, command).await,
        Command::Export(args) => export::export(&global, args).await,
        Command::Publish(args) => publish::publish(&global, args).await,
        Command::Doctor(args) => doctor::doctor(&global, &args).await,
    }
}
