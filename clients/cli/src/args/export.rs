//! The arguments of `saga export` and `saga publish`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Model directory (Hugging Face layout, timm's or open_clip's).
    pub model: PathBuf,
    /// Form to write.
    #[arg(long)]
    pub to: Form,
    /// Where to write: a folder of ONNX files, a new Hugging Face directory, or a .pth file.
    #[arg(long)]
    pub out: PathBuf,
    /// Arithmetic of an ONNX model. In 8-bit integers its answers must stay those of f32.
    #[arg(id = "export_precision", long = "precision", value_name = "PRECISION", default_value = "f32", value_parser = ["f32", "f16", "int8-dynamic", "int8-qdq"])]
    pub precision: String,
    /// Stands where the services' `--precision` would, whose variable SAGA_PRECISION is not about files.
    #[arg(id = "precision", long = "services-precision", hide = true)]
    _services_precision: Option<String>,
    /// Folder of images (jpeg, png, webp, also below it) as the model will see them, 1,128 or more: ranges of int8-qdq are
    /// taken from them, and answers in 8-bit integers compared on them.
    #[arg(long, value_name = "DIR")]
    pub calibration: Option<PathBuf>,
    /// Folder of the run that trained the model: its results fill the model card.
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// model.onnx; of a CLIP vision_model.onnx and text_model.onnx.
    Onnx,
    /// What transformers loads, with a model card.
    Huggingface,
    /// A PyTorch state dict.
    Pth,
}

#[derive(Debug, Args)]
pub struct PublishArgs {
    /// Folder to publish, as `saga export --to huggingface` makes it.
    pub directory: PathBuf,
    /// Repository: OWNER/NAME.
    pub repository: String,
    /// Address of the hub.
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://huggingface.co",
        env = "HF_ENDPOINT"
    )]
    pub endpoint: String,
    /// File that holds the access token; without it the variable HF_TOKEN does.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Make the repository private where it is new.
    #[arg(long)]
    pub private: bool,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::args::{Cli, Command};

    /// Precision of the services and of the export.
    fn precisions(before: &[&str], after: &[&str]) -> (String, String) {
        let export = ["export", "DIR", "--to", "onnx", "--out", "OUT"];
        let line = [&["saga"], before, &export, after].concat();
        let cli = Cli::try_parse_from(line).unwrap();
        let Command::Export(args) = cli.command else {
            panic!("{:?}", cli.command)
        };
        (cli.global.precision, args.precision)
    }

    #[test]
    fn the_precision_of_services_is_not_that_of_a_file() {
        let pair = |services: &str, file: &str| (services.to_owned(), file.to_owned());
        // As SAGA_PRECISION sets it, too.
        let services = ["--precision", "bf16"];
        assert_eq!(precisions(&services, &[]), pair("bf16", "f32"));
        let file = ["--precision", "f16"];
        assert_eq!(precisions(&services, &file), pair("bf16", "f16"));
        let unknown = [
            "saga",
            "export",
            "DIR",
            "--to=onnx",
            "--out=X",
            "--precision=bf16",
        ];
        let refused = Cli::try_parse_from(unknown).unwrap_err().to_string();
        assert!(refused.contains("int8-dynamic"), "{refused}");
    }
}
