//! Arguments of `saga eval` and `saga pool`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Folder of a finished run, as `saga run --out` or `saga demo --out` left it.
    #[arg(long)]
    pub out: PathBuf,
    /// Arms to train: plain, class_weighted, balanced_sampling, logit_adjusted, duplicate_tail, ungated, gated, placebo,
    /// gated_class_weighted, gated_balanced_sampling, gated_logit_adjusted, without_GATE, ratio_R (a share of the accepted images),
    /// weight_W (each counting W of a real one); `usual` stands for the first eight, `gated_corrected` for the three after them,
    /// `without_each` for every gate in turn, `ratio_sweep` for ratio_0.25, ratio_0.5, ratio_0.75 and gated.
    #[arg(long, value_delimiter = ',', default_value = "usual")]
    pub arms: Vec<String>,
    /// Trainings of each arm, with the run's seed and those after it; 3 are the least for a verdict.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub seeds: u32,
    /// Optimiser steps of each training, instead of the recipe's.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: Option<u32>,
}

#[derive(Debug, Args)]
pub struct PoolArgs {
    /// Folders of runs, as `saga eval --out` left them: the same data, classes, steps and number of seeds, each recipe with another
    /// `seed` of `[split]`.
    #[arg(required = true, num_args = 2..)]
    pub runs: Vec<PathBuf>,
    /// Folder of the report and the figures.
    #[arg(long)]
    pub out: PathBuf,
}
