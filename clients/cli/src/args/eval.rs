//! Arguments of `saga eval`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Folder of a finished run, as `saga run --out` or `saga demo --out` left it.
    #[arg(long)]
    pub out: PathBuf,
    /// Arms to train: plain, class_weighted, balanced_sampling, logit_adjusted, duplicate_tail, ungated, gated, placebo,
    /// gated_balanced, without_GATE, ratio_R; `usual` stands for the first eight, `without_each` for every gate in turn.
    #[arg(long, value_delimiter = ',', default_value = "usual")]
    pub arms: Vec<String>,
    /// Trainings of each arm, with the run's seed and those after it; 3 are the least for a verdict.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub seeds: u32,
    /// Optimiser steps of each training, instead of the recipe's.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: Option<u32>,
}
