//! The trainer as a process of its own.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use saga_chassis::{
    CommonArgs,
    args::{ServiceArgs, given},
    config::Flag,
    main_of,
};

/// Flags of the trainer.
#[derive(Debug, Clone, Args)]
struct TrainerArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Folder that finished models are written below.
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Address of the label store.
    #[arg(long, value_name = "ADDRESS")]
    label_store: Option<String>,
    /// auto, cpu or cuda:N.
    #[arg(long)]
    device: Option<String>,
    /// auto, f32 or bf16.
    #[arg(long)]
    precision: Option<String>,
}

impl ServiceArgs for TrainerArgs {
    fn common(&self) -> &CommonArgs {
        &self.common
    }

    fn flags(&self) -> Vec<Flag> {
        given([
            (
                "--models",
                "models.directory",
                self.models.as_ref().map(|path| path.display().to_string()),
            ),
            (
                "--label-store",
                "label_store.address",
                self.label_store.clone(),
            ),
            ("--device", "compute.device", self.device.clone()),
            ("--precision", "compute.precision", self.precision.clone()),
        ])
    }
}

fn main() -> ExitCode {
    main_of::<TrainerArgs, trainer::Config, _, _>(trainer::start)
}
