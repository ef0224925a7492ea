//! Checkpoints in the layouts that people have, brought to one: Hugging Face's names and configuration.
//!
//! | layout | recognised by | becomes |
//! |---|---|---|
//! | transformers' `ViTForImageClassification`, SAGA's head too | `vit.embeddings.cls_token` | itself |
//! | timm's `vit_*` | `patch_embed.proj.weight` | `ViTForImageClassification` |
//! | transformers' `ResNetForImageClassification` | `resnet.embedder.*` | itself |
//! | torchvision's and timm's ResNet | `layer1.0.conv1.weight` | `ResNetForImageClassification` |
//! | transformers' `CLIPModel` | `vision_model.*` | itself |
//! | OpenAI's and open_clip's CLIP | `visual.transformer.*` | `CLIPModel` |
//!
//! Nothing is filled in: tensors that a model lacks or does not know are an error that lists them, under Hugging Face's names
//! where a rule renames them and under their own where none does. [`Checkpoint::read`] reads a directory with its
//! configuration; [`import`] makes such a directory from a lone file.

mod import;
mod open_clip;
mod preset;
mod resnet;
mod source;
mod timm;
mod vit;

pub use import::{Assumptions, ImportOptions, import};
pub(crate) use source::{files as weight_files, of_directory, of_file};

use crate::error::{ModelError, Result};
use crate::golden::Golden;
use crate::int8::Record;
use crate::labels::Labels;
use crate::{clip, directory, preprocess};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use tch::Tensor;

/// Tensors on the CPU by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// A model in Hugging Face's terms.
pub struct Checkpoint {
    pub(crate) architecture: Architecture,
    /// None where the files do not say; a directory to serve from must.
    pub(crate) preprocessor: Option<preprocess::Config>,
    pub(crate) tensors: Tensors,
    pub(crate) golden: Option<Golden>,
    pub(crate) int8: Option<Record>,
}

/// What a checkpoint is one of.
#[derive(Debug, Clone, PartialEq)]
pub enum Architecture {
    Vit(crate::vit::Config),
    ResNet(crate::resnet::Config),
    Clip(clip::Config),
}

impl Architecture {
    /// Gives the classes of a classifier their names.
    ///
    /// # Errors
    /// [`ModelError::Config`] where there are more or fewer names than classes, or none to name.
    fn name_classes(&mut self, names: Vec<String>) -> Result<()> {
        let classes = match self {
            Self::Vit(config) => &mut config.classes,
            Self::ResNet(config) => &mut config.classes,
            Self::Clip(_) => {
                let why = "are a classifier's; this is a CLIP".to_owned();
                return Err(ModelError::Config { key: "labels", why });
            }
        };
        if names.len() as i64 != classes.classes() {
            let why = format!(
                "are {}; the model has {} classes",
                names.len(),
                classes.classes()
            );
            return Err(ModelError::Config { key: "labels", why });
        }
        *classes = Labels::new(names);
        Ok(())
    }
}

/// The dialect of a configuration.
enum Dialect {
    Transformers,
    Timm,
    OpenClip,
}

impl Checkpoint {
    /// Reads a model directory: transformers', timm's or open_clip's.
    ///
    /// # Errors
    /// A file that is absent or malformed, a model that is not one of the table above.
    pub fn read(dir: &Path) -> Result<Self> {
        let config = config_of(dir)?;
        let tensors = source::of_directory(dir)?;
        let mut checkpoint = Self::new(dir, &config, tensors)?;
        let golden = dir.join(directory::GOLDEN);
        if golden.is_file() {
            checkpoint.golden = Some(Golden::new(source::of_file(&golden)?)?);
        }
        let int8 = dir.join(directory::INT8);
        if int8.is_file() {
            let tensors = source::of_file(&int8)?;
            checkpoint.int8 = Some(Record::new(tensors, &directory::revision(dir)?)?);
        }
        Ok(checkpoint)
    }

    /// What it is one of.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Its tensors by name, to train further.
    pub fn into_tensors(self) -> Tensors {
        self.tensors
    }

    /// How this model's pictures are prepared.
    ///
    /// # Errors
    /// [`ModelError::Config`] where no file says, or says something that cannot be followed.
    pub fn preprocessor(&self) -> Result<preprocess::Preprocessor> {
        let config = self.preprocessor.clone().ok_or(ModelError::Config {
            key: "preprocessor",
            why: "is absent: put preprocessor_config.json into the directory".into(),
        })?;
        preprocess::Preprocessor::new(config)
    }

    /// How a model directory says that its pictures are prepared; none where no file says.
    ///
    /// # Errors
    /// As [`Self::read`]; of transformers' directories the configuration alone is read.
    pub fn preprocessing(dir: &Path) -> Result<Option<preprocess::Config>> {
        let own = dir.join(directory::PREPROCESSOR);
        if own.is_file() {
            return directory::read_json(&own).map(Some);
        }
        match dialect(&config_of(dir)?)? {
            Dialect::Transformers => Ok(None),
            Dialect::Timm | Dialect::OpenClip => Ok(Self::read(dir)?.preprocessor),
        }
    }

    fn of(
        architecture: Architecture,
        preprocessor: Option<preprocess::Config>,
        tensors: Tensors,
    ) -> Self {
        Self {
            architecture,
            preprocessor,
            tensors,
            golden: None,
            int8: None,
        }
    }

    fn new(dir: &Path, config: &Value, tensors: Tensors) -> Result<Self> {
        let mut checkpoint = match dialect(config)? {
            Dialect::Transformers => transformers(config, tensors)?,
            Dialect::Timm => timm::checkpoint(config, tensors)?,
            Dialect::OpenClip => open_clip::checkpoint(config, tensors)?,
        };
        let own = dir.join(directory::PREPROCESSOR);
        if own.is_file() {
            checkpoint.preprocessor = Some(directory::read_json(&own)?);
        }
        Ok(checkpoint)
    }
}

/// The configuration of a directory: config.json, or open_clip's where that is all there is.
fn config_of(dir: &Path) -> Result<Value> {
    let open_clip = dir.join(open_clip::CONFIG);
    if !dir.join(directory::CONFIG).is_file() && open_clip.is_file() {
        return directory::read_json(&open_clip);
    }
    directory::read_config(dir)
}

fn dialect(config: &Value) -> Result<Dialect> {
    let has = |key: &str| config.get(key).is_some();
    if has("model_type") {
        Ok(Dialect::Transformers)
    } else if has("model_cfg") {
        Ok(Dialect::OpenClip)
    } else if has("architecture") || has("pretrained_cfg") {
        Ok(Dialect::Timm)
    } else {
        Err(ModelError::Config {
            key: "model_type",
            why: "is absent, and the file is not timm's or open_clip's either".into(),
        })
    }
}

/// Hugging Face's configuration with Hugging Face's names, or torchvision's for a ResNet that was trained under them.
fn transformers(config: &Value, tensors: Tensors) -> Result<Checkpoint> {
    let architecture = match config.get("model_type").and_then(Value::as_str) {
        Some("vit") => Architecture::Vit(parsed(config)?),
        Some("resnet") => Architecture::ResNet(parsed(config)?),
        Some("clip") => Architecture::Clip(parsed(config)?),
        other => {
            let why = format!("{other:?} is not supported; use \"vit\", \"resnet\" or \"clip\"");
            return Err(ModelError::Config {
                key: "model_type",
                why,
            });
        }
    };
    let tensors = unprefixed(tensors);
    let tensors = match architecture {
        Architecture::Vit(_) => vit::renamed(tensors)?,
        Architecture::ResNet(_) => resnet::renamed(tensors),
        Architecture::Clip(_) => open_clip::renamed(tensors)?,
    };
    Ok(Checkpoint::of(architecture, None, tensors))
}

fn parsed<T: serde::de::DeserializeOwned>(config: &Value) -> Result<T> {
    serde_json::from_value(config.clone()).map_err(ModelError::json(Path::new(directory::CONFIG)))
}

/// Without what wrappers put before every name: `model.`, `module.`, and what torch.compile adds.
fn unprefixed(mut tensors: Tensors) -> Tensors {
    const WRAPPERS: [&str; 3] = ["module.", "model.", "_orig_mod."];
    while let Some(prefix) = WRAPPERS
        .into_iter()
        .find(|prefix| !tensors.is_empty() && tensors.keys().all(|name| name.starts_with(prefix)))
    {
        let bare = |(name, tensor): (String, Tensor)| match name.strip_prefix(prefix) {
            Some(bare) => (bare.to_owned(), tensor),
            None => (name, tensor),
        };
        tensors = tensors.into_iter().map(bare).collect();
    }
    tensors
}

/// `name` with the first rule whose left side it starts with applied.
fn replaced(name: &str, rules: &[(&str, &str)]) -> Option<String> {
    rules
        .iter()
        .find_map(|(from, to)| Some(format!("{to}{}", name.strip_prefix(from)?)))
}

/// The number of indices under `prefix`: blocks.0, blocks.1, ...
fn count(tensors: &Tensors, prefix: &str) -> usize {
    let index = |name: &String| name.strip_prefix(prefix)?.split('.').next()?.parse().ok();
    tensors
        .keys()
        .filter_map(index)
        .max()
        .map_or(0, |last: usize| last + 1)
}

/// The shape of a tensor that decides the configuration.
///
/// # Errors
/// [`ModelError::Weights`] where it is missing or does not have `N` dimensions.
fn shape<const N: usize>(tensors: &Tensors, name: &str) -> Result<[i64; N]> {
    let mut mismatch = crate::WeightMismatch::default();
    match tensors.get(name).map(Tensor::size) {
        None => mismatch.missing.push(name.to_owned()),
        Some(found) => match <[i64; N]>::try_from(found.as_slice()) {
            Ok(shape) => return Ok(shape),
            Err(_) => {
                let why = format!("{name}: expected {N} dimensions, found {found:?}");
                mismatch.misshapen.push(why);
            }
        },
    }
    Err(mismatch.into())
}
