//! Parameters by their Hugging Face names: made with a seed, read and written as safetensors, strictly.

mod taken;

use crate::checkpoint::Tensors;
use crate::error::{ModelError, Result, WeightMismatch};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use safetensors::tensor::{Dtype, TensorView};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path;
use taken::Taken;
use tch::{Device, Kind, Tensor, nn};

/// Optimizer groups of [`Weights::var_store`], so that learning rate and weight decay can differ.
/// Matrices and kernels ("weight" of two dimensions or more) decay; biases, norms and tokens do not.
pub mod group {
    pub const BODY: usize = 0;
    pub const BODY_NO_DECAY: usize = 1;
    pub const HEAD: usize = 2;
    pub const HEAD_NO_DECAY: usize = 3;
}

/// How a new parameter starts.
#[derive(Debug, Clone, Copy)]
pub enum Init {
    Const(f64),
    /// Normal around zero with this standard deviation. transformers' `trunc_normal_(std=0.02)` cuts at an
    /// absolute +-2, a hundred deviations out, and is the same distribution.
    Normal(f64),
}

/// All parameters and buffers of a model: f32 on one device, trainable unless frozen.
pub struct Weights {
    store: nn::VarStore,
    start: RefCell<Start>,
}

/// Where the values of new tensors come from.
enum Start {
    Random(Box<ChaCha8Rng>),
    /// A file that is read once all are there; so many elements more it may leave unfilled.
    File {
        room: usize,
    },
    Taken(Taken),
}

/// How much larger than its file a model may be: enough to list what is missing, too little for a configuration to exhaust
/// the memory.
const GROWTH: usize = 8;
const ALWAYS_ALLOWED: usize = 1 << 24;
/// What a tensor costs besides its elements, in elements.
const PER_TENSOR: usize = 1 << 10;

impl Weights {
    /// Starts parameters from `seed`; the same seed gives the same weights on every machine.
    pub fn random(device: Device, seed: u64) -> Self {
        Self {
            store: nn::VarStore::new(device),
            start: RefCell::new(Start::Random(Box::new(ChaCha8Rng::seed_from_u64(seed)))),
        }
    }

    /// Starts parameters as constants, to be overwritten by [`Weights::fill`] with `found`. Of a model that is far larger than
    /// that, parameters cannot be made.
    pub fn blank(device: Device, found: &Tensors) -> Self {
        Self {
            store: nn::VarStore::new(device),
            start: RefCell::new(Start::File { room: room(found) }),
        }
    }

    /// Hands `found` out as parameters, converted to `kind`, for serving alone: models of gigabytes are then in memory once, and
    /// what a layer packs for itself is not kept besides. Nothing enters the store; [`Weights::finish`] tells what did not fit.
    pub fn taking(device: Device, found: Tensors, kind: Kind) -> Self {
        Self {
            store: nn::VarStore::new(device),
            start: RefCell::new(Start::Taken(Taken::new(found, kind))),
        }
    }

    /// Ends what [`Weights::taking`] began. A model that was built of weights that do not fit must not be used.
    ///
    /// # Errors
    /// [`ModelError::Weights`] lists tensors that are missing, surplus or misshapen.
    pub fn finish(self) -> Result<()> {
        match self.start.into_inner() {
            Start::Taken(taken) => taken.finish(),
            Start::Random(_) | Start::File { .. } => Ok(()),
        }
    }

    /// The scope of names without a prefix.
    pub fn root(&self) -> Scope<'_> {
        Scope {
            path: self.store.root(),
            group: group::BODY,
            start: &self.start,
        }
    }

    /// What tch's optimizers are built on; groups as in [`group`].
    pub fn var_store(&self) -> &nn::VarStore {
        &self.store
    }

    /// Every tensor by name, in order of names. The tensors share their storage with the model.
    pub fn tensors(&self) -> Tensors {
        self.store.variables().into_iter().collect()
    }

    /// Number of trainable scalars.
    pub fn parameter_count(&self) -> usize {
        self.store
            .trainable_variables()
            .iter()
            .map(Tensor::numel)
            .sum()
    }

    /// Stops tracking gradients: for serving.
    pub fn freeze(&mut self) {
        self.store.freeze();
    }

    /// Converts floating-point tensors in place, except those whose name starts with `keep`: for serving.
    pub fn cast(&mut self, kind: Kind, keep: &str) -> Result<()> {
        for (name, mut tensor) in self.tensors() {
            if tensor.is_floating_point() && !name.starts_with(keep) {
                let converted = tensor.f_to_kind(kind)?;
                tensor.f_set_data(&converted)?;
            }
        }
        Ok(())
    }

    /// Fills every tensor, converting floating-point ones to f32.
    ///
    /// # Errors
    /// [`ModelError::Weights`] lists tensors that are missing, surplus or misshapen; nothing is then changed. Two kinds of
    /// buffers carry nothing and may be there or not: the `position_ids` that old transformers wrote, and the
    /// `num_batches_tracked` that PyTorch before 0.4.1 did not.
    pub fn fill(&mut self, found: &Tensors) -> Result<()> {
        let wanted = self.tensors();
        let mismatch = compare(&wanted, found);
        if !mismatch.is_empty() {
            return Err(mismatch.into());
        }
        let _guard = tch::no_grad_guard();
        for (name, mut tensor) in wanted {
            if let Some(found) = found.get(&name) {
                tensor.f_copy_(found)?;
            }
        }
        Ok(())
    }

    /// Writes every tensor with metadata `{"format": "pt"}`, floating-point ones as f32.
    pub fn save(&self, file: &Path) -> Result<()> {
        save(&self.tensors(), file)
    }
}

/// Writes tensors as safetensors with metadata `{"format": "pt"}`, floating-point ones as f32, others as i64; a file for whom the
/// umask lets it be.
pub fn save(tensors: &Tensors, file: &Path) -> Result<()> {
    let _guard = tch::no_grad_guard();
    let data = tensors
        .iter()
        .map(|(name, tensor)| Ok((name, raw(tensor)?)));
    let data = data.collect::<Result<Vec<_>>>()?;
    let invalid = |source| ModelError::Safetensors {
        path: file.to_path_buf(),
        source,
    };
    let views = data.iter().map(|(name, (dtype, shape, bytes))| {
        Ok((
            name.as_str(),
            TensorView::new(*dtype, shape.clone(), bytes).map_err(invalid)?,
        ))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    // The library makes files for their owner alone; one that is made here first tells what the umask allows.
    let first = File::options().create(true).append(true).open(file);
    let permissions = first
        .and_then(|file| file.metadata())
        .map_err(ModelError::io(file))?
        .permissions();
    safetensors::serialize_to_file(views, Some(metadata), file).map_err(invalid)?;
    fs::set_permissions(file, permissions).map_err(ModelError::io(file))
}

/// A prefix of parameter names within [`Weights`].
#[derive(Clone)]
pub struct Scope<'a> {
    path: nn::Path<'a>,
    group: usize,
    start: &'a RefCell<Start>,
}

impl<'a> Scope<'a> {
    /// The scope below this one; `name` may hold several parts separated by dots.
    pub fn at(&self, name: impl ToString) -> Scope<'a> {
        let path = name
            .to_string()
            .split('.')
            .fold(self.path.clone(), |path, part| path.sub(part));
        Scope {
            path,
            ..self.clone()
        }
    }

    /// The same names, in optimizer group `first` (parameters that decay) or `first + 1` (others).
    pub fn in_group(&self, first: usize) -> Scope<'a> {
        Scope {
            group: first,
            ..self.clone()
        }
    }

    /// A new trainable f32 parameter, or a file's tensor as [`Weights::taking`] says.
    pub fn parameter(&self, name: &str, shape: &[i64], init: Init) -> Result<Tensor> {
        if let Start::Taken(taken) = &mut *self.start.borrow_mut() {
            return taken.take(&self.path.path(name), shape, self.path.device());
        }
        let tensor = self.initial(shape, init)?;
        let decays = name == "weight" && shape.len() >= 2;
        let group = if decays { self.group } else { self.group + 1 };
        Ok(self.path.set_group(group).add(name, tensor, true))
    }

    /// A new tensor that is saved but not trained.
    pub fn buffer(&self, name: &str, tensor: Tensor) -> Result<Tensor> {
        Ok(self
            .path
            .add(name, tensor.f_to_device(self.path.device())?, false))
    }

    fn initial(&self, shape: &[i64], init: Init) -> Result<Tensor> {
        let device = self.path.device();
        match (init, &mut *self.start.borrow_mut()) {
            (Init::Normal(deviation), Start::Random(random)) => {
                return normal(shape, deviation, random, device);
            }
            (_, Start::File { room }) => *room = rest(*room, shape)?,
            (Init::Const(_), Start::Random(_)) | (_, Start::Taken(_)) => {}
        }
        let value = match init {
            Init::Const(value) => value,
            Init::Normal(_) => 0.0,
        };
        Ok(Tensor::f_full(shape, value, (Kind::Float, device))?)
    }
}

/// Elements that a model may have whose file has these tensors.
fn room(found: &Tensors) -> usize {
    let elements: usize = found.values().map(Tensor::numel).sum();
    elements.saturating_mul(GROWTH).max(ALWAYS_ALLOWED)
}

/// Whether a tensor is a buffer that old transformers wrote and that carries nothing.
fn is_idle(name: &str) -> bool {
    name.ends_with(".position_ids")
}

/// What is left of `room` elements beside a new tensor.
fn rest(room: usize, shape: &[i64]) -> Result<usize> {
    let side = |size: usize, &side: &i64| size.checked_mul(usize::try_from(side).ok()?);
    let size = shape.iter().try_fold(1, side);
    let rest = size.and_then(|size| room.checked_sub(size)?.checked_sub(PER_TENSOR));
    rest.ok_or_else(|| {
        let why = "the configuration describes a model far larger than its weights; is it theirs?";
        ModelError::Input(why.into())
    })
}

pub(crate) fn normal(
    shape: &[i64],
    deviation: f64,
    random: &mut ChaCha8Rng,
    device: Device,
) -> Result<Tensor> {
    let distribution = Normal::new(0.0_f32, deviation as f32)
        .map_err(|error| ModelError::Input(format!("standard deviation {deviation}: {error}")))?;
    let count = usize::try_from(shape.iter().product::<i64>()).unwrap_or(0);
    let values: Vec<f32> = distribution.sample_iter(random).take(count).collect();
    Ok(Tensor::f_from_slice(&values)?
        .f_reshape(shape)?
        .f_to_device(device)?)
}

fn compare(wanted: &Tensors, found: &Tensors) -> WeightMismatch {
    let mut mismatch = WeightMismatch::default();
    for (name, tensor) in wanted {
        match found.get(name) {
            None if name.ends_with(".num_batches_tracked") => {}
            None => mismatch.missing.push(name.clone()),
            Some(found) => mismatch.misshapen.extend(difference(name, tensor, found)),
        }
    }
    let known = |name: &&String| wanted.contains_key(*name) || is_idle(name);
    mismatch.surplus = found.keys().filter(|name| !known(name)).cloned().collect();
    mismatch
}

fn difference(name: &str, wanted: &Tensor, found: &Tensor) -> Option<String> {
    let same_type = wanted.is_floating_point() == found.is_floating_point();
    (wanted.size() != found.size() || !same_type).then(|| {
        format!(
            "{name}: expected {:?} {:?}, found {:?} {:?}",
            wanted.size(),
            wanted.kind(),
            found.size(),
            found.kind()
        )
    })
}

/// Element type, shape and little-endian bytes of a tensor, floating-point ones as f32.
type Raw = (Dtype, Vec<usize>, Vec<u8>);

fn raw(tensor: &Tensor) -> Result<Raw> {
    let (dtype, kind) = if tensor.is_floating_point() {
        (Dtype::F32, Kind::Float)
    } else {
        (Dtype::I64, Kind::Int64)
    };
    let tensor = tensor
        .f_to_device(Device::Cpu)?
        .f_to_kind(kind)?
        .f_contiguous()?;
    let mut bytes = vec![0; tensor.numel() * kind.elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
    Ok((
        dtype,
        tensor.size().iter().map(|&side| side as usize).collect(),
        bytes,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_file_is_readable_by_whom_the_umask_lets() {
        let dir = tempfile::tempdir().unwrap();
        let [plain, saved] = ["plain", "saved"].map(|name| dir.path().join(name));
        fs::write(&plain, "").unwrap();
        let tensors = Tensors::from([("a".to_owned(), Tensor::from_slice(&[1f32]))]);
        save(&tensors, &saved).unwrap();
        let permissions = |path| fs::metadata(path).unwrap().permissions();
        assert_eq!(permissions(&saved), permissions(&plain));
    }

    #[test]
    fn a_model_far_larger_than_its_file_is_not_made() {
        let weights = Weights::blank(Device::Cpu, &Tensors::new());
        let make = |name: i64, shape: &[i64]| {
            let made = weights
                .root()
                .at(name)
                .parameter("weight", shape, Init::Const(1.0));
            made.map_err(|error| error.to_string())
        };
        assert!(make(0, &[1 << 10, 1 << 10]).is_ok());
        for shape in [&[1 << 13, 1 << 12][..], &[i64::MAX, 2], &[-1]] {
            assert!(
                make(1, shape).unwrap_err().contains("far larger"),
                "{shape:?}"
            );
        }
        // Nor one of any number of small tensors.
        assert!((2..1 << 15).any(|name| make(name, &[1]).is_err()));
    }
}
