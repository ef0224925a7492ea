//! `saga model import`: checkpoints of other libraries to directories that the services load.

use anyhow::Result;
use saga_models::checkpoint::{Architecture, ImportOptions, import};
use serde_json::json;

use crate::{
    args::{Global, ImportArgs},
    output,
};

/// Writes a Hugging Face directory, loaded once before it takes its place.
pub async fn import_file(global: &Global, args: ImportArgs) -> Result<()> {
    let options = ImportOptions {
        config: args.config,
        preprocessor: args.preprocessor,
        labels: args.labels,
        activation: args.activation.map(Into::into),
    };
    let (file, out) = (args.file, args.out.clone());
    let imported = tokio::task::spawn_blocking(move || import(&file, &out, &options));
    let (architecture, assumptions) = imported.await??;
    let (model, classes) = match &architecture {
        Architecture::Vit(config) => ("ViTForImageClassification", config.classes.names()),
        Architecture::ResNet(config) => ("ResNetForImageClassification", config.classes.names()),
        Architecture::Clip(_) => ("CLIPModel", Vec::new()),
    };
    if global.json {
        return output::print_json(&json!({
            "directory": args.out,
            "architecture": model,
            "labels": classes,
            "assumptions": assumptions,
        }));
    }
    println!("{model} in {}", args.out.display());
    if !classes.is_empty() {
        println!("  {} classes: {}", classes.len(), shortened(&classes));
    }
    for assumption in assumptions {
        println!("  assumed: {assumption}");
    }
    Ok(())
}

fn shortened(classes: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = classes
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if classes.len() > SHOWN {
        text.push_str(", ...");
    }
    text
}
