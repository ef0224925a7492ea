//! Flags of `saga explain`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use saga_proto::classifier::v1::ExplanationMethod;

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Model directory (Hugging Face layout); with running services the name of a model that the classifier serves.
    pub model: PathBuf,
    /// Images, and folders of them.
    #[arg(long, required = true, num_args = 1.., value_name = "DIR|FILE")]
    pub images: Vec<PathBuf>,
    /// Ways to explain; several with commas between.
    #[arg(
        long = "method",
        value_enum,
        value_delimiter = ',',
        default_value = "grad-cam"
    )]
    pub methods: Vec<MethodName>,
    /// Class that is explained; without it, of each image the most probable one.
    #[arg(long = "class", value_name = "LABEL")]
    pub class: Option<String>,
    /// Folder of the results: overlays (PNG), maps (NumPy, f32) and explanations.json.
    #[arg(long)]
    pub out: PathBuf,
    /// Images at most, spread over those found.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub limit: u32,
    /// Pictures with hidden regions that KernelSHAP and LIME try for an image; without it as many as shap and lime do.
    #[arg(long, value_parser = clap::value_parser!(u32).range(16..=10_000))]
    pub samples: Option<u32>,
    /// Seed of the hidden regions.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MethodName {
    GradCam,
    #[value(name = "grad-cam++")]
    GradCamPlusPlus,
    AttentionRollout,
    KernelShap,
    Lime,
}

impl From<MethodName> for ExplanationMethod {
    fn from(name: MethodName) -> Self {
        match name {
            MethodName::GradCam => Self::GradCam,
            MethodName::GradCamPlusPlus => Self::GradCamPlusPlus,
            MethodName::AttentionRollout => Self::AttentionRollout,
            MethodName::KernelShap => Self::KernelShap,
            MethodName::Lime => Self::Lime,
        }
    }
}
