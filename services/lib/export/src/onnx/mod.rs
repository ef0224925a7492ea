//! ONNX, written natively: a model directory becomes one file, a CLIP two.
//!
//! | model | file | input | output |
//! |---|---|---|---|
//! | ViT, ResNet | `model.onnx` | `pixel_values` [N, channels, height, width] | `logits` [N, C] |
//! | CLIP | `vision_model.onnx` | `pixel_values` | `image_embeds` [N, projection_dim] |
//! | | `text_model.onnx` | `input_ids` [N, tokens], int64 | `text_embeds` [N, projection_dim] |
//!
//! N is any number, inputs and outputs are f32 in every precision, embeddings have length one. `metadata_props` hold what the file
//! alone does not tell: `labels` of a classifier, `logit_scale` of a CLIP, `preprocessor_config`, `model_type`, `revision`, `precision`. In
//! `int8-dynamic` ranges are a batch's, so that a picture's numbers depend a little on those beside it. Before a file is written its
//! graph is evaluated: in f32 it must give the model's numbers, in f16 nearly those, in 8-bit integers its answers.
//!
//! | part | idea |
//! |---|---|
//! | `proto`, `file` | the format |
//! | `graph`, `layers` | graphs in the making; which operators fall back to what |
//! | `vit`, `resnet`, `clip` | the models |
//! | `half`, `int8` | other precisions of a finished graph |
//! | `evaluate`, `proof` | what a graph gives |

mod clip;
mod evaluate;
mod file;
mod graph;
mod half;
mod int8;
mod layers;
mod proof;
mod proto;
mod resnet;
mod towers;
mod vit;

use crate::error::{ExportError, Result};
use crate::file::{Whole, Written};
use graph::Graph;
use proof::Batches;
use proto::Side;
use saga_imaging::RgbImage;
use saga_models::int8::{Agreement, BATCH, OBSERVED};
use saga_models::tch::Kind;
use std::path::Path;
use towers::{Exportable, Tower};

const PIXEL_VALUES: &str = "pixel_values";
const INPUT_IDS: &str = "input_ids";
const LOGITS: &str = "logits";

/// What is computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    F32,
    /// Weights and what flows between them; for GPUs.
    F16,
    /// 8-bit integers, ranges taken from each batch.
    Int8Dynamic,
    /// 8-bit integers, ranges fixed by pictures.
    Int8Qdq,
}

impl Precision {
    /// By its name on the command line.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::F32, Self::F16, Self::Int8Dynamic, Self::Int8Qdq];
        all.into_iter().find(|precision| precision.name() == name)
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8Dynamic => "int8-dynamic",
            Self::Int8Qdq => "int8-qdq",
        }
    }
}

/// What an export came to.
#[derive(Debug, Clone)]
pub struct Report {
    pub files: Vec<Written>,
    /// Largest difference of a logit, or of a number of an embedding, between the model and the f32 graph.
    pub drift: f64,
    /// Answers in 8-bit integers that are those of f32; none where there were no pictures to compare them on.
    pub agreement: Option<Agreement>,
}

/// Writes a model directory as ONNX into the folder `out`. In 8-bit integers pictures are used as `saga model quantize` uses them:
/// the first [`OBSERVED`] for ranges ([`Precision::Int8Qdq`] alone), then [`saga_models::int8::COMPARED`] to compare answers on.
/// An answer is the most probable class, and of a CLIP the nearest picture of sixteen.
///
/// # Errors
/// A model that cannot be loaded; [`ExportError::Drift`] where a graph does not give the model's numbers, [`ExportError::HalfDrift`] in f16;
/// [`ExportError::Disagreement`] where too few answers in 8-bit integers are those of f32; [`ExportError::NoCalibration`] where there are no
/// pictures to take ranges from, [`ExportError::TooFewPictures`] where there are some. Nothing is then written.
pub fn export(
    dir: &Path,
    out: &Path,
    precision: Precision,
    pictures: Option<&mut dyn Iterator<Item = RgbImage>>,
) -> Result<Report> {
    let Exportable {
        towers,
        preprocessor,
        mut metadata,
    } = Exportable::read(dir)?;
    metadata.push(("precision".to_owned(), precision.name().to_owned()));
    let mut batches = pictures.map(|pictures| Batches::new(pictures, preprocessor));
    let mut report = Report {
        files: Vec::new(),
        drift: 0.0,
        agreement: None,
    };
    let mut graphs = Vec::new();
    for tower in towers {
        report.drift = report.drift.max(proof::drift(&tower)?);
        let (file, graph) = match precision {
            Precision::F16 => (tower.file, in_f16(&tower)?),
            Precision::Int8Dynamic | Precision::Int8Qdq if tower.sees => {
                let (graph, agreement) = in_int8(&tower, precision, batches.as_mut())?;
                report.agreement = agreement;
                (tower.file, graph)
            }
            // Sentences are embedded once each: their tower stays in f32.
            _ => (tower.file, tower.graph),
        };
        graphs.push((file, graph));
    }
    report.files = write(&graphs, &metadata, out, file::INSIDE)?;
    Ok(report)
}

/// All files are on the disk before the first takes its name, so that a full one leaves the old export.
fn write(
    graphs: &[(&str, Graph)],
    metadata: &[(String, String)],
    out: &Path,
    inside: usize,
) -> Result<Vec<Written>> {
    let mut files = Vec::new();
    for (file, graph) in graphs {
        files.extend(file::write(
            graph,
            metadata.to_vec(),
            &out.join(file),
            inside,
        )?);
    }
    files.into_iter().map(Whole::named).collect()
}

fn in_f16(tower: &Tower) -> Result<Graph> {
    let mut graph = tower.graph.shallow_clone();
    half::convert(&mut graph)?;
    proof::half(tower, &graph)?;
    Ok(graph)
}

fn in_int8(
    tower: &Tower,
    precision: Precision,
    mut batches: Option<&mut Batches>,
) -> Result<(Graph, Option<Agreement>)> {
    let mut graph = tower.graph.shallow_clone();
    int8::fold_batch_norms(&mut graph)?;
    match precision {
        Precision::Int8Qdq => {
            let batches = batches.as_mut().ok_or(ExportError::NoCalibration)?;
            let seen = (0..OBSERVED / BATCH).map(|_| batches.next(BATCH));
            let seen = seen.collect::<Result<Vec<_>>>()?;
            let ranges = int8::ranges(&graph, int8::values(&graph), &seen)?;
            int8::qdq(&mut graph, &ranges)?;
        }
        _ => int8::dynamic(&mut graph)?,
    }
    let agreement = batches.map(|batches| proof::agreement(tower, &graph, batches));
    Ok((graph, agreement.transpose()?))
}

/// A batch of any size, of things of this shape.
fn batch_of(rest: &[i64]) -> Vec<Side> {
    let batch = Side::Any("batch".to_owned());
    std::iter::once(batch)
        .chain(rest.iter().map(|&side| Side::Fixed(side)))
        .collect()
}

/// ONNX's number of an element type.
fn data_type(name: &str, kind: Kind) -> Result<i32> {
    let pair = TYPES.iter().find(|(known, _)| *known == kind);
    pair.map(|(_, number)| *number)
        .ok_or_else(|| ExportError::ElementType {
            name: name.to_owned(),
            kind,
        })
}

/// The element type of ONNX's number.
fn kind(data_type: i64) -> Option<Kind> {
    let pair = TYPES
        .iter()
        .find(|(_, number)| i64::from(*number) == data_type);
    pair.map(|(kind, _)| *kind)
}

const TYPES: [(Kind, i32); 7] = [
    (Kind::Float, proto::data_type::FLOAT),
    (Kind::Half, proto::data_type::FLOAT16),
    (Kind::Uint8, proto::data_type::UINT8),
    (Kind::Int8, proto::data_type::INT8),
    (Kind::Int, proto::data_type::INT32),
    (Kind::Int64, proto::data_type::INT64),
    (Kind::Bool, proto::data_type::BOOL),
];

#[cfg(test)]
mod tests {
    use super::*;
    use saga_models::tch::Tensor;
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::PathBuf;

    /// With a weight beside the file, and one inside that ONNX may have no place for.
    fn graph(value: f32, last: Tensor) -> Graph {
        let mut graph = Graph::new("test");
        let large = Tensor::from_slice(&[value; 2000]);
        graph.initializer("large", large).unwrap();
        graph.initializer("last", last).unwrap();
        graph
    }

    fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let paths = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        paths
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    }

    #[test]
    fn an_export_that_breaks_off_leaves_every_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let write = |value: f32, last: fn() -> Tensor| {
            let graphs = [
                ("vision_model.onnx", graph(value, Tensor::from(value))),
                ("text_model.onnx", graph(value, last())),
            ];
            write(&graphs, &[], folder.path(), 1000)
        };
        assert_eq!(write(1.0, || Tensor::from(1.0_f32)).unwrap().len(), 4);
        let old = files(folder.path());
        assert_eq!(old.len(), 4);
        // After all that comes before it has been written.
        let broken = write(2.0, || Tensor::from(2.0_f64)).unwrap_err();
        assert!(
            matches!(&broken, ExportError::ElementType { name, .. } if name == "last"),
            "{broken}"
        );
        assert_eq!(files(folder.path()), old);
        write(2.0, || Tensor::from(2.0_f32)).unwrap();
        assert!(files(folder.path()).values().ne(old.values()));
    }
}
