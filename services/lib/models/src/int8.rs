//! Serving in 8-bit integers, where pictures have shown that answers stay the same.
//!
//! [`quantize`] observes what reaches each linear map in f32, quantises with these ranges, and compares the answers on pictures
//! that it has not seen. Where they agree, `int8.safetensors` keeps the ranges (`{index}.low` and `.high` [inputs], in the
//! order of the model's linear maps), what the quantised model answers to the canary batch (`output`), the revision of the
//! weights (`revision`, as bytes) and how many of how many answers agreed (`agreement` [2]). A service that loads the model in this
//! precision builds it from the ranges and asks for those answers again.

use crate::checkpoint::{Architecture, Checkpoint, Tensors};
use crate::clip::Clip;
use crate::directory;
use crate::error::{ModelError, Result};
use crate::fused::Sealing;
use crate::model::{Model, canary, frozen};
use crate::preprocess::Preprocessor;
use crate::runtime::{Precision, Runtime};
use crate::tokenizer::Tokenizer;
use crate::vit::VitClassifier;
use crate::weights::save;
use saga_imaging::RgbImage;
use saga_kernels::Ranges;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tch::{Kind, Tensor};

/// Pictures that ranges are observed on.
pub const OBSERVED: usize = 128;
/// Pictures that answers are compared on.
pub const COMPARED: usize = 1000;
/// Pictures at a time. Of more, the larger values of a full-size model would be over 32 MB, and memory of such blocks goes back to the
/// operating system after each layer.
pub const BATCH: usize = 8;
/// The share of answers that must agree.
pub const LEAST_AGREEMENT: f64 = 0.99;

/// How many answers of the quantised model are those of f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    pub agreeing: usize,
    pub of: usize,
}

impl Agreement {
    /// From 0 to 1.
    pub fn share(self) -> f64 {
        self.agreeing as f64 / self.of.max(1) as f64
    }

    fn check(self) -> std::result::Result<(), String> {
        if self.of >= COMPARED && self.share() >= LEAST_AGREEMENT {
            return Ok(());
        }
        Err(format!(
            "{} of {} answers agree with f32; {} % of {COMPARED} or more must",
            self.agreeing,
            self.of,
            LEAST_AGREEMENT * 100.0
        ))
    }
}

/// What int8.safetensors holds.
pub(crate) struct Record {
    ranges: Vec<Ranges>,
    output: Tensor,
    agreement: Agreement,
}

impl Record {
    /// # Errors
    /// [`ModelError::Int8`] where something is missing, or was made for weights other than those of `revision`.
    pub(crate) fn new(mut tensors: Tensors, revision: &str) -> Result<Self> {
        let mut take = |name: &str, kind| {
            let absent = || ModelError::Int8(format!("lacks the tensor {name}"));
            Ok::<_, ModelError>(tensors.remove(name).ok_or_else(absent)?.f_to_kind(kind)?)
        };
        let made_for = Vec::<i64>::try_from(take("revision", Kind::Int64)?)?;
        if !made_for.iter().copied().eq(bytes(revision)) {
            let why = "was made for other weights than those beside it; run `saga model quantize` again, or delete the file";
            return Err(ModelError::Int8(why.into()));
        }
        let agreement = Vec::<i64>::try_from(take("agreement", Kind::Int64)?)?;
        let &[agreeing, of] = agreement.as_slice() else {
            let why = format!("has {} numbers in agreement; 2 expected", agreement.len());
            return Err(ModelError::Int8(why));
        };
        let count = |number: i64| usize::try_from(number).unwrap_or(0);
        let output = take("output", Kind::Float)?;
        let mut ranges = Vec::new();
        while let Ok(low) = take(&format!("{}.low", ranges.len()), Kind::Float) {
            let high = take(&format!("{}.high", ranges.len()), Kind::Float)?;
            ranges.push(Ranges { low, high });
        }
        Ok(Self {
            ranges,
            output,
            agreement: Agreement {
                agreeing: count(agreeing),
                of: count(of),
            },
        })
    }

    fn write(self, revision: &str, file: &Path) -> Result<()> {
        let agreement = [self.agreement.agreeing as i64, self.agreement.of as i64];
        let mut tensors = Tensors::from([
            ("output".to_owned(), self.output),
            ("agreement".to_owned(), Tensor::f_from_slice(&agreement)?),
            (
                "revision".to_owned(),
                Tensor::f_from_slice(&bytes(revision).collect::<Vec<_>>())?,
            ),
        ]);
        for (index, Ranges { low, high }) in self.ranges.into_iter().enumerate() {
            tensors.insert(format!("{index}.low"), low);
            tensors.insert(format!("{index}.high"), high);
        }
        save(&tensors, file)
    }
}

fn bytes(text: &str) -> impl Iterator<Item = i64> {
    text.bytes().map(i64::from)
}

/// A model to serve in 8-bit integers, made of one that is frozen in f32 and not sealed.
///
/// # Errors
/// [`ModelError::Precision`] where no record says that its answers agree; [`ModelError::Int8`] where the record is not this
/// model's or its answers are others now.
pub(crate) fn load<M: Model>(model: M, record: Option<&Record>, runtime: Runtime) -> Result<M> {
    let Some(record) = record else {
        let why = format!(
            "the directory has no {}; make it with `saga model quantize`, or use bf16 or f32",
            directory::INT8
        );
        return Err(refused(why));
    };
    record.agreement.check().map_err(refused)?;
    let ranges = record.ranges.iter().map(Ranges::shallow_clone).collect();
    let model = quantized(model, runtime, ranges)?;
    let (channels, side) = model.image_shape();
    let output = model.canary_output(&canary(channels, side)?)?;
    if output.size() != record.output.size() {
        let why = format!(
            "holds outputs of shape {:?}; the model gives {:?}",
            record.output.size(),
            output.size()
        );
        return Err(ModelError::Int8(why));
    }
    let drift = M::drift(&record.output, &output)?;
    // NaN counts as drift.
    if drift <= M::MAX_DRIFT {
        return Ok(model);
    }
    Err(ModelError::Int8(format!(
        "records other {} than the model gives here: drift {drift:.4}, over {}; run `saga model quantize` on a machine like this \
         one, or use bf16 or f32",
        M::OUTPUT,
        M::MAX_DRIFT
    )))
}

/// What a ResNet answers.
pub(crate) fn not_a_transformer() -> ModelError {
    refused("is for the linear maps of transformers; this is a ResNet: use bf16 or f32".into())
}

fn refused(why: String) -> ModelError {
    ModelError::Precision {
        precision: Precision::Int8.to_string(),
        why,
    }
}

/// Weights are quantised from f32 and only then is the rest converted.
fn quantized<M: Model>(mut model: M, runtime: Runtime, ranges: Vec<Ranges>) -> Result<M> {
    let mut sealing = Sealing::Int8(ranges.into_iter());
    model.seal(&mut sealing)?;
    if let Sealing::Int8(mut left) = sealing
        && left.next().is_some()
    {
        let why = "has ranges of more linear maps than the model has";
        return Err(ModelError::Int8(why.into()));
    }
    let base = model.base_mut();
    base.precision = runtime.precision;
    base.weights.cast(runtime.precision.kind(), M::KEPT_F32)?;
    Ok(model)
}

/// Quantises a model directory on [`OBSERVED`] pictures, compares its answers with those of f32 on [`COMPARED`] others, and writes
/// the record where they agree. An answer is the most probable class of a classifier, and of a CLIP the nearest of `prompts`.
///
/// # Errors
/// [`ModelError::Precision`] where too few answers agree, and for a ResNet; [`ModelError::Input`] for too few pictures, and for
/// prompts where there is nothing to choose from; as [`Checkpoint::read`]. Nothing is then written.
pub fn quantize(
    dir: &Path,
    prompts: &[String],
    pictures: impl Iterator<Item = RgbImage>,
) -> Result<Agreement> {
    let checkpoint = Checkpoint::read(dir)?;
    match checkpoint.architecture() {
        Architecture::Vit(_) if !prompts.is_empty() => Err(ModelError::Input(
            "prompts are for a CLIP; this is a classifier".into(),
        )),
        Architecture::Vit(_) => quantize_as(dir, checkpoint, pictures, |_: &VitClassifier| {
            Ok(|model: &VitClassifier, pixels: &Tensor| model.forward(pixels))
        }),
        Architecture::Clip(config) => {
            let tokenizer =
                Tokenizer::from_dir(dir, config.text_config.max_position_embeddings as usize)?;
            let prompts = prompts.iter().map(|prompt| tokenizer.encode(prompt));
            let prompts = prompts.collect::<Result<Vec<_>>>()?;
            if prompts.len() < 2 {
                let why = "a CLIP chooses among prompts: give two or more";
                return Err(ModelError::Input(why.into()));
            }
            quantize_as(dir, checkpoint, pictures, |reference: &Clip| {
                let prompts = reference.text_embeds(&prompts)?.f_transpose(0, 1)?;
                Ok(move |model: &Clip, pixels: &Tensor| {
                    Ok(model.image_embeds(pixels)?.f_matmul(&prompts)?)
                })
            })
        }
        Architecture::ResNet(_) => Err(not_a_transformer()),
    }
}

/// `answers` makes, of the reference, what gives a model's answers [N, choices].
fn quantize_as<M: Model, A: Fn(&M, &Tensor) -> Result<Tensor>>(
    dir: &Path,
    checkpoint: Checkpoint,
    pictures: impl Iterator<Item = RgbImage>,
    answers: impl FnOnce(&M) -> Result<A>,
) -> Result<Agreement> {
    let runtime = Runtime::select("cpu", "int8")?;
    let preprocessor = checkpoint.preprocessor()?;
    let mut batches = Batches {
        pictures,
        preprocessor,
    };
    let mut reference: M = frozen(&checkpoint, Runtime::REFERENCE)?;
    reference.seal(&mut Sealing::Observed)?;
    let answers = answers(&reference)?;
    for _ in 0..OBSERVED / BATCH {
        let _ = answers(&reference, &batches.next(BATCH)?)?;
    }
    let ranges = reference.take_seen();
    let kept = ranges.iter().map(Ranges::shallow_clone).collect();
    let model: M = quantized(frozen(&checkpoint, Runtime::REFERENCE)?, runtime, ranges)?;
    let mut agreement = Agreement { agreeing: 0, of: 0 };
    while agreement.of < COMPARED {
        let pixels = batches.next(BATCH.min(COMPARED - agreement.of))?;
        let choice = |model| {
            answers(model, &pixels)?
                .f_argmax(-1, false)
                .map_err(ModelError::from)
        };
        let same = choice(&reference)?.f_eq_tensor(&choice(&model)?)?;
        agreement.agreeing += same.f_sum(Kind::Int64)?.f_int64_value(&[])? as usize;
        agreement.of += same.numel();
    }
    agreement
        .check()
        .map_err(|why| refused(format!("{why}; nothing was written, use bf16 or f32")))?;
    let (channels, side) = model.image_shape();
    let record = Record {
        ranges: kept,
        output: model.canary_output(&canary(channels, side)?)?,
        agreement,
    };
    // Beside the final name, so that a crash leaves the old file or the new one; readable by whom the umask lets.
    let unfinished = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(dir)
        .map_err(ModelError::io(dir))?;
    record.write(&directory::revision(dir)?, unfinished.path())?;
    let file = dir.join(directory::INT8);
    unfinished
        .persist(&file)
        .map_err(|error| ModelError::io(&file)(error.error))?;
    Ok(agreement)
}

struct Batches<I> {
    pictures: I,
    preprocessor: Preprocessor,
}

impl<I: Iterator<Item = RgbImage>> Batches<I> {
    fn next(&mut self, size: usize) -> Result<Tensor> {
        let items: Vec<_> = self
            .pictures
            .by_ref()
            .take(size)
            .map(|picture| self.preprocessor.pixel_values(&picture))
            .collect();
        if items.len() < size {
            let why = format!(
                "too few pictures; {} are needed, {OBSERVED} to observe ranges and {COMPARED} others to compare answers",
                OBSERVED + COMPARED
            );
            return Err(ModelError::Input(why));
        }
        self.preprocessor.batch(&items)
    }
}
