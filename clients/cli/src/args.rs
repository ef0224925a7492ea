//! The command line: every command, flag and help text.

mod calibrate;
mod describe;
mod eval;
mod explain;
mod export;
mod load;
mod registry;
mod run;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use calibrate::CalibrateArgs;
pub use describe::DescribeArgs;
pub use eval::{EvalArgs, PoolArgs};
pub use explain::{ExplainArgs, MethodName};
pub use export::{ExportArgs, Form, PublishArgs};
pub use load::{GateName, Items, LoadArgs};
pub use registry::RegistryCommand;
pub use run::{DemoArgs, RunArgs};

/// Repairs long-tailed image data sets: finds the scarce and misclassified classes, generates candidates for exactly
/// those, lets only trustworthy ones through a guard of gates, retrains, and proves the gain on a sealed golden set.
///
/// Start with `saga demo`, then try your own data: `saga run emotion --data DIR --out DIR`.
#[derive(Debug, Parser)]
#[command(name = "saga", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// Print JSON instead of tables, and JSON lines instead of progress bars.
    #[arg(long, global = true)]
    pub json: bool,
    /// Where the services run: auto, cpu or cuda:N.
    #[arg(long, global = true, default_value = "auto", env = "SAGA_DEVICE")]
    pub device: String,
    /// Arithmetic of the models: auto, f32, bf16, f16 or int8.
    #[arg(long, global = true, default_value = "auto", env = "SAGA_PRECISION")]
    pub precision: String,
    /// Folder of configuration files for the services started in this process, each named like its service:
    /// generator.toml. Variables like SAGA_GENERATOR__GEMINI__KEYS_FILE go first.
    #[arg(long, global = true, env = "SAGA_CONFIG_DIR", value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
    #[command(flatten)]
    pub addresses: Addresses,
}

/// Services that run already. Those without an address are started inside this process.
#[derive(Debug, Args)]
#[command(next_help_heading = "Running services (all or none)")]
pub struct Addresses {
    /// Address of the orchestrator, for example http://127.0.0.1:50050.
    #[arg(
        long,
        global = true,
        env = "SAGA_ORCHESTRATOR_ADDRESS",
        value_name = "URL"
    )]
    pub orchestrator_address: Option<String>,
    /// Address of the label store.
    #[arg(
        long,
        global = true,
        env = "SAGA_LABEL_STORE_ADDRESS",
        value_name = "URL"
    )]
    pub label_store_address: Option<String>,
    /// Address of the classifier.
    #[arg(
        long,
        global = true,
        env = "SAGA_CLASSIFIER_ADDRESS",
        value_name = "URL"
    )]
    pub classifier_address: Option<String>,
    /// Address of the generator.
    #[arg(
        long,
        global = true,
        env = "SAGA_GENERATOR_ADDRESS",
        value_name = "URL"
    )]
    pub generator_address: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole loop on rendered faces: no data, network or weights needed.
    Demo(DemoArgs),
    /// Run the whole loop on a data set of your own.
    Run(RunArgs),
    /// Train the arms of a finished run (real images reweighted, repeated, gated, ungated, shuffled) with several seeds and equal
    /// steps, and say whether its images should be merged.
    Eval(EvalArgs),
    /// Judge several evaluated runs on one data set together, each with a split of its own: more people than one golden set shows.
    Pool(PoolArgs),
    /// Choose thresholds for the gates of a finished run so that all together let no more than a stated share of bad candidates
    /// through, with a stated confidence for each class.
    Calibrate(CalibrateArgs),
    /// Serve every service in one process, and print the addresses.
    Up(UpArgs),
    /// Ask the guard about one candidate.
    Guard(GuardArgs),
    /// Classify images.
    Classify(ClassifyArgs),
    /// Caption and label images with a text model of Gemini's.
    Describe(DescribeArgs),
    /// Show what a classifier looks at in images, and rank the ways to tell by deletion and insertion.
    Explain(ExplainArgs),
    /// Show and check the signed provenance of images: who signed, how they were made, whether they were changed since.
    Verify(VerifyArgs),
    /// Bring checkpoints of other libraries into directories that the services load; load, list and roll back what they serve.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Write a model for other programs: ONNX, a Hugging Face directory, a PyTorch state dict.
    Export(ExportArgs),
    /// Push a folder to a repository of the Hugging Face hub; what is there already is not sent again.
    Publish(PublishArgs),
    /// Load-test one gate: latency at a rate, peak throughput, or a sweep that finds the knee.
    #[command(after_help = load::EXIT_CODES)]
    Load(LoadArgs),
    /// Look at data sets, or make one.
    #[command(subcommand)]
    Data(DataCommand),
    /// Check this machine and the installation, and say what to do about what is missing. With --generator, check a
    /// backend's keys, too, and make one image with it.
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Backend to check: its keys, and one image made with it, at its price.
    #[arg(long)]
    pub generator: Option<String>,
}

#[derive(Debug, Args)]
pub struct UpArgs {
    /// Folder of the label store and of the models.
    #[arg(long, default_value = "out/up")]
    pub out: PathBuf,
    /// Port of the orchestrator; the other services take the ports after it.
    #[arg(long, default_value_t = 50050)]
    pub port: u16,
    /// Port of the orchestrator's Prometheus metrics; the other services take the ports after it. Off where not set.
    #[arg(long)]
    pub metrics_port: Option<u16>,
    /// Folder with models to serve (`baseline` and `clip` below it), as a run leaves it.
    #[arg(long)]
    pub models: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct GuardArgs {
    /// The real image the candidate was made from.
    #[arg(long)]
    pub source: PathBuf,
    /// The generated image.
    #[arg(long)]
    pub candidate: PathBuf,
    /// The class the candidate should show.
    #[arg(long)]
    pub target: String,
    /// Recipe whose gates and thresholds apply.
    #[arg(long, default_value = "studio")]
    pub recipe: String,
    /// Folder with the models `baseline` and `clip`, as a run leaves it.
    #[arg(long, default_value = "out/demo/models")]
    pub models: PathBuf,
}

#[derive(Debug, Args)]
pub struct ClassifyArgs {
    /// Images.
    #[arg(required = true)]
    pub images: Vec<PathBuf>,
    /// Model directory (Hugging Face layout).
    #[arg(long, default_value = "out/demo/models/augmented")]
    pub model: PathBuf,
    /// How many labels an image gets.
    #[arg(long, default_value_t = 3)]
    pub top_k: u32,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Images.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Certificates to trust (PEM): of authorities, or of signers themselves. A file signed by others fails then. Without
    /// it nobody is trusted, and signatures are only checked to hold.
    #[arg(long, value_name = "PEM")]
    pub trust: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Make a Hugging Face directory from one file of weights; nothing in the file is executed.
    Import(ImportArgs),
    /// Let a model directory be served in 8-bit integers, if its answers stay the same.
    Quantize(QuantizeArgs),
    /// Put a model directory in service: loaded, checked and warm before it takes the place of the one that had the name.
    Load(LoadModelArgs),
    /// List the models in service.
    List(ModelService),
    /// Put the model back in service that had the name before the last load.
    Rollback(NamedArgs),
    /// Take a model out of service.
    Unload(NamedArgs),
    /// Versions of trained models in the label store, and which of them serves.
    #[command(subcommand)]
    Registry(RegistryCommand),
}

#[derive(Debug, Args)]
pub struct LoadModelArgs {
    /// Model directory (Hugging Face layout), on a disk that the service sees too.
    pub directory: PathBuf,
    #[command(flatten)]
    pub service: ModelService,
    /// Name that requests call it by.
    #[arg(long, default_value = "default")]
    pub name: String,
    /// Give it the requests that name no model, too; the first model loaded gets them in any case.
    #[arg(long)]
    pub make_default: bool,
}

/// A service that runs already.
#[derive(Debug, Args)]
pub struct ModelService {
    /// Address of a classifier or of a CLIP gate.
    #[arg(long, value_name = "URL")]
    pub address: String,
}

#[derive(Debug, Args)]
pub struct NamedArgs {
    /// Name of the model.
    pub name: String,
    #[command(flatten)]
    pub service: ModelService,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Weights: .safetensors, or .pth, .pt or .bin as torch.save writes them, of timm, torchvision, open_clip or transformers.
    pub file: PathBuf,
    /// Directory to write.
    #[arg(long)]
    pub out: PathBuf,
    /// Configuration of transformers, timm or open_clip; without it the one beside the file, else the weights' shapes.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// preprocessor_config.json, where the configuration does not tell how pictures are prepared.
    #[arg(long)]
    pub preprocessor: Option<PathBuf>,
    /// Class names in the order of the logits.
    #[arg(long, value_delimiter = ',')]
    pub labels: Vec<String>,
    /// Activation of a CLIP without configuration.
    #[arg(long, value_enum)]
    pub activation: Option<ActivationName>,
}

#[derive(Debug, Args)]
pub struct QuantizeArgs {
    /// Model directory of a ViT or a CLIP; int8.safetensors is written into it.
    pub directory: PathBuf,
    /// Folder of images (jpeg, png, webp, also below it) as the model will see them, 1,128 or more.
    #[arg(long)]
    pub images: PathBuf,
    /// Sentence that a CLIP chooses from; twice or more.
    #[arg(long = "prompt", value_name = "TEXT")]
    pub prompts: Vec<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum ActivationName {
    /// Most of open_clip's.
    Gelu,
    /// OpenAI's.
    QuickGelu,
}

impl From<ActivationName> for saga_models::Activation {
    fn from(name: ActivationName) -> Self {
        match name {
            ActivationName::Gelu => Self::Gelu,
            ActivationName::QuickGelu => Self::QuickGelu,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Render a labelled, long-tailed data set of faces.
    Studio(StudioArgs),
    /// Images by class, and every row that cannot be used with its reason.
    Stats(StatsArgs),
}

#[derive(Debug, Args)]
pub struct StudioArgs {
    /// Folder of the data set.
    #[arg(long)]
    pub out: PathBuf,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Side of the images in pixels, 64 to 512.
    #[arg(long, default_value_t = 128)]
    pub size: u32,
    /// Images of a class, for example --count fear=50; may be repeated. Without it: the studio's own long tail.
    #[arg(long = "count", value_name = "LABEL=N", value_parser = parse_count)]
    pub counts: Vec<(String, u32)>,
}

#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Data set folder or manifest.
    pub data: PathBuf,
    /// Classes in label order; without them: the labels found.
    #[arg(long, value_delimiter = ',')]
    pub classes: Vec<String>,
}

fn parse_count(text: &str) -> Result<(String, u32), String> {
    let (label, count) = text
        .split_once('=')
        .ok_or("write LABEL=N, for example fear=50")?;
    let count = count
        .parse()
        .map_err(|_| format!("`{count}` is not a count"))?;
    Ok((label.to_owned(), count))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn counts_are_label_and_number() {
        assert_eq!(parse_count("fear=50"), Ok(("fear".to_owned(), 50)));
        assert!(parse_count("fear").is_err());
        assert!(parse_count("fear=many").is_err());
    }
}
