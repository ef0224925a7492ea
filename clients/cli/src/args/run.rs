//! The arguments of `saga demo` and `saga run`.

use std::path::PathBuf;

use clap::{Args, builder::ArgPredicate};

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder of the results.
    #[arg(long, default_value = "out/demo")]
    pub out: PathBuf,
    /// Seed of the faces and of the run.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Go on with an interrupted run in the same folder.
    #[arg(long)]
    pub resume: bool,
    /// Plan at most 20 candidates.
    #[arg(long)]
    pub test_mode: bool,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Name of a recipe that is compiled in (studio, emotion), or a TOML file.
    pub recipe: String,
    /// Data set: AffectNet layout (labels.csv), class folders, or a CSV/JSONL manifest.
    #[arg(long)]
    pub data: PathBuf,
    /// Folder of the results.
    #[arg(
        long,
        required = false,
        required_unless_present = "estimate",
        default_value_if("estimate", ArgPredicate::IsPresent, ".")
    )]
    pub out: PathBuf,
    /// Generator backend, instead of the recipe's; several with commas between.
    #[arg(long)]
    pub generator: Option<String>,
    /// Seed, instead of the recipe's.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Go on with an interrupted run in the same folder.
    #[arg(long)]
    pub resume: bool,
    /// Plan at most 20 candidates.
    #[arg(long)]
    pub test_mode: bool,
    /// Most US dollars that backends which cost money may spend; then the run goes on with what was accepted. With --resume
    /// the same as before where it is not given.
    #[arg(long, value_name = "USD")]
    pub max_cost: Option<f64>,
    /// Export the faces of the accepted images, too, cut out and resized to this side in pixels, 16 to 4096.
    #[arg(long, value_name = "SIDE", value_parser = clap::value_parser!(u32).range(16..=4096))]
    pub crop_faces: Option<u32>,
    /// Run nothing: print how many images are wanted, and the requests, days and US dollars that they and other numbers of
    /// images take.
    #[arg(long)]
    pub estimate: bool,
}
