//! The tensors of a file or directory, under the names that the file gives them.

use super::Tensors;
use crate::error::{ModelError, Result};
use crate::{directory, pickle};
use safetensors::tensor::{Dtype, SafeTensors};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// Where a directory keeps its weights, best first.
const FILES: [&str; 8] = [
    directory::WEIGHTS,
    "open_clip_model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "model.fp16.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
    "diffusion_pytorch_model.bin",
];
/// The same in several files, and which tensor is in which.
const INDICES: [&str; 4] = [
    "model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors.index.json",
    "pytorch_model.bin.index.json",
    "diffusion_pytorch_model.bin.index.json",
];

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files that hold a directory's weights.
///
/// # Errors
/// [`ModelError::Io`] where there is none.
pub(crate) fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    if let Some(file) = FILES
        .iter()
        .map(|name| dir.join(name))
        .find(|file| file.is_file())
    {
        return Ok(vec![file]);
    }
    let Some(index) = INDICES
        .iter()
        .map(|name| dir.join(name))
        .find(|file| file.is_file())
    else {
        let path = dir.join(directory::WEIGHTS);
        return Err(ModelError::io(&path)(std::io::ErrorKind::NotFound.into()));
    };
    let index: Index = directory::read_json(&index)?;
    let names: BTreeSet<&String> = index.weight_map.values().collect();
    let inside = |name: &&String| {
        let mut parts = Path::new(name.as_str()).components();
        matches!(
            (parts.next(), parts.next()),
            (Some(std::path::Component::Normal(_)), None)
        )
    };
    if let Some(name) = names.iter().find(|name| !inside(name)) {
        let why = format!("{name:?} is not the name of a file beside it");
        return Err(ModelError::Config {
            key: "weight_map",
            why,
        });
    }
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

pub(crate) fn of_directory(dir: &Path) -> Result<Tensors> {
    let mut tensors = Tensors::new();
    for file in files(dir)? {
        tensors.extend(of_file(&file)?);
    }
    Ok(tensors)
}

/// Reads a safetensors file, or what torch.save wrote.
pub(crate) fn of_file(file: &Path) -> Result<Tensors> {
    if file
        .extension()
        .is_some_and(|extension| extension == "safetensors")
    {
        return safetensors(file);
    }
    let stored = pickle::read(file)?;
    let tensors = stored.into_iter().map(|(name, stored)| {
        let tensor = tensor(&name, stored.dtype, &stored.shape, &stored.data)?;
        Ok((name, tensor))
    });
    tensors.collect()
}

fn safetensors(file: &Path) -> Result<Tensors> {
    let bytes = std::fs::read(file).map_err(ModelError::io(file))?;
    let found = SafeTensors::deserialize(&bytes).map_err(|source| ModelError::Safetensors {
        path: file.to_path_buf(),
        source,
    })?;
    let tensors = found.tensors().into_iter().map(|(name, view)| {
        let tensor = tensor(&name, view.dtype(), view.shape(), view.data())?;
        Ok((name, tensor))
    });
    tensors.collect()
}

fn tensor(name: &str, dtype: Dtype, shape: &[usize], data: &[u8]) -> Result<Tensor> {
    let kind = kind(dtype).ok_or_else(|| {
        ModelError::Weights(crate::WeightMismatch {
            misshapen: vec![format!("{name}: element type {dtype:?} is not supported")],
            ..Default::default()
        })
    })?;
    let shape: Vec<i64> = shape.iter().map(|&side| side as i64).collect();
    Ok(Tensor::f_from_data_size(data, &shape, kind)?)
}

/// The element types that checkpoints hold.
fn kind(dtype: Dtype) -> Option<Kind> {
    match dtype {
        Dtype::F64 => Some(Kind::Double),
        Dtype::F32 => Some(Kind::Float),
        Dtype::F16 => Some(Kind::Half),
        Dtype::BF16 => Some(Kind::BFloat16),
        Dtype::I64 => Some(Kind::Int64),
        Dtype::I32 => Some(Kind::Int),
        Dtype::I16 => Some(Kind::Int16),
        Dtype::I8 => Some(Kind::Int8),
        Dtype::U8 => Some(Kind::Uint8),
        Dtype::BOOL => Some(Kind::Bool),
        _ => None,
    }
}
