//! Measures SAGA beside the tools it replaces.
//!
//! `compare` runs a Python peer and ours alternately on the same inputs, checks that the answers agree, and prints medians and
//! ratios: `make bench`. `model` measures one checkpoint in this process by batch size, on any device; `diffusion` the parts of a
//! Stable Diffusion beside diffusers; `duplicates` the search for near-duplicates among millions; `remote` asks a local server with
//! quotas and faults for candidates.

mod compare;
mod diffusion;
mod duplicates;
mod guard;
mod kernels;
mod model;
mod peer;
mod remote;
mod table;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measures SAGA beside the tools it replaces.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Ours and the reference, alternately.
    Compare(compare::Options),
    /// Candidates of a local server with quotas and faults, through the generator's Gemini backend.
    Remote(remote::Options),
    /// The parts of a Stable Diffusion, beside diffusers.
    Diffusion(diffusion::Options),
    /// The index of near-duplicates, a scan, and FAISS.
    Duplicates(duplicates::Options),
    /// Images a second of one checkpoint, by batch size.
    Model {
        /// Model directory.
        directory: PathBuf,
        #[arg(long, default_value = "auto")]
        device: String,
        #[arg(long, default_value = "auto")]
        precision: String,
        /// Batch sizes.
        #[arg(long, value_delimiter = ',', default_value = "1,8,16,32")]
        batch: Vec<i64>,
        /// Seconds of each.
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Compare(options) => compare::run(&options),
        Command::Diffusion(options) => diffusion::run(&options),
        Command::Remote(options) => remote::run(&options),
        Command::Duplicates(options) => duplicates::run(&options),
        Command::Model {
            directory,
            device,
            precision,
            batch,
            seconds,
        } => model::run(&directory, &device, &precision, &batch, seconds),
    }
}
