//! The arguments of `saga describe`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// Images, or folders of images.
    #[arg(required = true)]
    pub images: Vec<PathBuf>,
    /// Folder of `descriptions.jsonl`, and of the ledger: what is in there already is not paid for again.
    #[arg(long)]
    pub out: PathBuf,
    /// What the images are about and how the words should be.
    #[arg(long, default_value = "")]
    pub prompt: String,
    /// Labels to choose from, with commas between; without it the model's own.
    #[arg(long, value_delimiter = ',')]
    pub labels: Vec<String>,
    /// Comments as of social media for each image, 0 to 20.
    #[arg(long, default_value_t = 0)]
    pub comments: u32,
    /// Backend that makes the words.
    #[arg(long, default_value = "gemini-text")]
    pub backend: String,
    /// Most US dollars to spend on this folder in all.
    #[arg(long, value_name = "USD")]
    pub max_cost: Option<f64>,
}
