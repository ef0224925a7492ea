//! A model directory from a lone file of weights.

use super::open_clip::Heads;
use super::{Architecture, Checkpoint, open_clip, preset, resnet, source, timm, unprefixed, vit};
use crate::error::{ModelError, Result};
use crate::layers::Activation;
use crate::weights::save;
use crate::{directory, golden, preprocess};
use std::path::{Path, PathBuf};

/// What the file does not tell.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// config.json of transformers, timm or open_clip; None: the one beside the file, else the shapes decide.
    pub config: Option<PathBuf>,
    /// preprocessor_config.json; None: as the configuration says, else the layout's custom.
    pub preprocessor: Option<PathBuf>,
    /// Class names in the order of the logits; empty: as the configuration says.
    pub labels: Vec<String>,
    /// Of a CLIP without configuration: OpenAI's weights need quick_gelu, most of open_clip's gelu.
    pub activation: Option<Activation>,
}

/// What was taken for granted, a sentence each.
pub type Assumptions = Vec<String>;

/// Writes a Hugging Face directory from `file` (safetensors, or what torch.save wrote, of which nothing is executed). The model is
/// loaded from it, and its golden answers recorded, before the directory takes its name.
///
/// # Errors
/// A file that cannot be read, a layout or configuration that is not supported, weights that do not fit it.
pub fn import(
    file: &Path,
    out: &Path,
    options: &ImportOptions,
) -> Result<(Architecture, Assumptions)> {
    let mut assumptions = Assumptions::new();
    let dir = file.parent().unwrap_or(Path::new("."));
    let beside = [directory::CONFIG, open_clip::CONFIG]
        .map(|name| dir.join(name))
        .into_iter()
        .find(|path| path.is_file());
    let tensors = source::of_file(file)?;
    let mut checkpoint = match options.config.clone().or(beside) {
        Some(config) => {
            let value = directory::read_json(&config)?;
            Checkpoint::new(config.parent().unwrap_or(dir), &value, tensors)?
        }
        None => lone(file, unprefixed(tensors), options, &mut assumptions)?,
    };
    if let Some(path) = &options.preprocessor {
        checkpoint.preprocessor = Some(directory::read_json(path)?);
    }
    if !options.labels.is_empty() {
        checkpoint
            .architecture
            .name_classes(options.labels.clone())?;
    }
    let preprocessor = checkpoint
        .preprocessor
        .take()
        .ok_or_else(|| ModelError::Config {
            key: "preprocessor",
            why: "is not known for this layout; give a preprocessor_config.json".into(),
        })?;
    directory::replace(out, |new| {
        let config = new.join(directory::CONFIG);
        match &checkpoint.architecture {
            Architecture::Vit(architecture) => directory::write_json(&config, architecture)?,
            Architecture::ResNet(architecture) => directory::write_json(&config, architecture)?,
            Architecture::Clip(architecture) => {
                directory::write_json(&config, architecture)?;
                copy_tokenizer(dir, new, &mut assumptions)?;
            }
        }
        preprocessor.write(new)?;
        save(&checkpoint.tensors, &new.join(directory::WEIGHTS))?;
        golden::record(new)
    })?;
    Ok((checkpoint.architecture, assumptions))
}

/// A file without configuration: its names tell the layout, its shapes the sizes.
fn lone(
    file: &Path,
    tensors: super::Tensors,
    options: &ImportOptions,
    assumptions: &mut Assumptions,
) -> Result<Checkpoint> {
    let has = |name: &str| tensors.contains_key(name);
    if vit::is_timm(&tensors) || has("vit.embeddings.cls_token") {
        let is_timm = vit::is_timm(&tensors);
        let tensors = vit::renamed(tensors)?;
        let eps = if is_timm { timm::LAYER_NORM_EPS } else { 1e-12 };
        let config = vit::inferred(&tensors, eps, None)?;
        assumptions.push(format!(
            "{} attention heads, 64 numbers each",
            config.num_attention_heads
        ));
        let preprocessor = (!is_timm).then(|| {
            assumptions.push("preprocessing as ViTImageProcessor's default: squash, bilinear, mean and deviation 0.5".into());
            preprocess::Config::vit(config.image_size as u32)
        });
        return Ok(Checkpoint::of(
            Architecture::Vit(config),
            preprocessor,
            tensors,
        ));
    }
    if resnet::is_torchvision(&tensors) || has("resnet.embedder.embedder.convolution.weight") {
        let is_torchvision = resnet::is_torchvision(&tensors);
        let tensors = resnet::renamed(tensors);
        let preprocessor = is_torchvision.then(|| {
            assumptions.push("preprocessing as torchvision's IMAGENET1K_V1: shortest edge 256, bilinear, crop of 224".into());
            preset::torchvision()
        });
        return Ok(Checkpoint::of(
            Architecture::ResNet(resnet::inferred(&tensors)?),
            preprocessor,
            tensors,
        ));
    }
    if open_clip::is_open_clip(&tensors) || has("vision_model.embeddings.class_embedding") {
        let activation = options.activation.ok_or_else(|| ModelError::Config {
            key: "activation",
            why: "is not in the file; OpenAI's weights need quick_gelu, most of open_clip's gelu"
                .into(),
        })?;
        let tensors = open_clip::renamed(tensors)?;
        let config = open_clip::inferred(&tensors, activation, Heads::default())?;
        let preprocessor = preprocess::Config::clip(config.vision_config.image_size as u32);
        assumptions.push("64 numbers an attention head, and CLIP's own preprocessing".into());
        return Ok(Checkpoint::of(
            Architecture::Clip(config),
            Some(preprocessor),
            tensors,
        ));
    }
    let names: Vec<&str> = tensors.keys().take(3).map(String::as_str).collect();
    Err(ModelError::Input(format!(
        "{} is no ViT, ResNet or CLIP that is known here: its tensors begin with {}",
        file.display(),
        names.join(", ")
    )))
}

/// The files that make a tokenizer, where they lie beside the weights.
fn copy_tokenizer(from: &Path, to: &Path, assumptions: &mut Assumptions) -> Result<()> {
    let mut found = false;
    for name in [
        directory::TOKENIZER,
        "tokenizer_config.json",
        directory::VOCAB,
        directory::MERGES,
    ] {
        let path = from.join(name);
        if path.is_file() {
            std::fs::copy(&path, to.join(name)).map_err(ModelError::io(&path))?;
            found |= name == directory::TOKENIZER || name == directory::MERGES;
        }
    }
    if !found {
        assumptions.push(
            "no tokenizer lies beside the file: put tokenizer.json into the directory".into(),
        );
    }
    Ok(())
}
