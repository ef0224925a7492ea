//! Tries training settings on a folder in AffectNet layout (`labels.csv` with `pth,label[,subject]`), without services.
//!
//! `cargo run --release -p trainer --example tune -- FOLDER [kind=vit|clip] [KEY=NUMBER]...`, keys as in `Trial::new`.
//! A fifth of the subjects (or files) are val. Prints each epoch, then recall by class, and for CLIP how the cosines of
//! the right and the best wrong text are spread, from which a gate's threshold is chosen.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeMap, path::Path, time::Instant};

use rayon::prelude::*;
use saga_models::Runtime;
use saga_proto::trainer::v1 as proto;
use tch::{Kind as Element, Tensor};
use trainer::{
    classifier::Classifier,
    contrastive::Contrastive,
    data::{Dataset, Prepare, Split},
    fit::{Epoch, Learner, Observer, fit},
    loader::Source,
    master::MasterWeights,
    pixels, preprocessing,
    request::{Job, Kind},
};

/// Arguments of the form key=value.
struct Trial(BTreeMap<String, String>);

impl Trial {
    fn number(&self, key: &str, default: f64) -> f64 {
        self.0
            .get(key)
            .map_or(default, |value| value.parse().expect("a number"))
    }

    fn request(&self, clip: bool, classes: &[String]) -> proto::StreamTrainingRequest {
        let n = |key: &str, default: f64| self.number(key, default);
        let text = |label: &String| proto::Prompts {
            texts: vec![format!("a photo of a {label} face")],
        };
        let prompts = classes
            .iter()
            .filter(|_| clip)
            .map(|label| (label.clone(), text(label)))
            .collect();
        let kind = if clip {
            proto::ModelKind::Clip
        } else {
            proto::ModelKind::VitClassifier
        };
        let width = n("width", 128.0);
        proto::StreamTrainingRequest {
            kind: kind.into(),
            dataset_id: "folder".into(),
            output: "none".into(),
            seed: n("seed", 1.0) as u64,
            prompts,
            architecture: Some(proto::Architecture {
                image_size: n("side", 64.0) as u32,
                patch_size: n("patch", 8.0) as u32,
                hidden_size: width as u32,
                num_hidden_layers: n("depth", 4.0) as u32,
                num_attention_heads: n("heads", 4.0) as u32,
                intermediate_size: (width * n("mlp", 4.0)) as u32,
                drop_path: n("drop_path", 0.0),
                ..Default::default()
            }),
            settings: Some(proto::TrainingSettings {
                steps: n("steps", 800.0) as u32,
                batch_size: n("batch", 64.0) as u32,
                learning_rate: n("lr", 1e-3),
                weight_decay: n("decay", 0.05),
                warmup: n("warmup", 0.1),
                label_smoothing: n("smoothing", 0.0),
                ema_decay: n("ema", 0.99),
                sampling: if n("balanced", 1.0) > 0.0 { 2 } else { 1 },
                mixup: n("mixup", 0.0),
                augment: n("augment", 1.0) > 0.0,
                gradient_clip: n("clip", 1.0),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

/// Prints every few epochs.
struct Print;

impl Observer for Print {
    fn epoch(&self, epoch: &Epoch) {
        let (scores, of) = (&epoch.scores, epoch.epochs);
        println!(
            "epoch {:3}/{of}  train loss {:.3}  val loss {:.3}  accuracy {:.3}  balanced {:.3}  F1 {:.3}  norm {:.2}  {:.0} images/s",
            epoch.epoch,
            epoch.train_loss,
            scores.loss,
            scores.confusion.accuracy(),
            scores.confusion.balanced_accuracy(),
            scores.confusion.macro_f1(),
            epoch.gradient_norm,
            epoch.images_per_second,
        );
    }

    fn cancelled(&self) -> bool {
        false
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("the first argument is the folder");
    let pairs = arguments.filter_map(|pair| {
        pair.split_once('=')
            .map(|(key, value)| (key.to_string(), value.to_string()))
    });
    let trial = Trial(pairs.collect());
    let clip = trial.0.get("kind").is_some_and(|kind| kind == "clip");
    let rows = rows(Path::new(&folder))?;
    let classes: std::collections::BTreeSet<String> =
        rows.iter().map(|row| row.label.clone()).collect();
    let classes: Vec<String> = classes.into_iter().collect();
    let job = Job::try_from(trial.request(clip, &classes))?;
    let preprocessing = preprocessing::of(&job)?;
    let most = trial.number("max", f64::INFINITY) as usize;
    let dataset = load(
        &rows,
        classes,
        job.architecture.image_size,
        &pixels::prepare(preprocessing.clone())?,
        most,
    );
    let runtime = Runtime::select(
        "auto",
        trial.0.get("precision").map_or("auto", String::as_str),
    )?;
    saga_models::runtime::set_threads(trial.number("threads", 0.0) as usize);
    println!(
        "{} train, {} val images, {}",
        dataset.train.labels.len(),
        dataset.val.labels.len(),
        runtime.precision
    );
    match job.kind {
        Kind::VitClassifier | Kind::ResnetClassifier => {
            let mut model = Classifier::new(&job, &dataset, preprocessing, runtime)?;
            let weights = MasterWeights::new(model.weights().tensors())?;
            train(&mut model, weights, &job, &dataset);
        }
        Kind::Clip => {
            let mut model = Contrastive::new(&job, &dataset, preprocessing, runtime)?;
            let weights = MasterWeights::new(model.weights().tensors())?;
            train(&mut model, weights, &job, &dataset);
            let scale = model.weights().tensors()["logit_scale"]
                .exp()
                .double_value(&[])
                .min(100.0);
            spread(&model, scale, &dataset);
        }
        kind => anyhow::bail!("{kind:?} has no settings to try here"),
    }
    Ok(())
}

fn train(model: &mut dyn Learner, weights: MasterWeights, job: &Job, dataset: &Dataset) {
    let begun = Instant::now();
    let source = Source {
        dataset,
        settings: &job.settings,
        seed: job.seed,
    };
    let best = fit(model, weights, source, None, &Print).expect("training ends well");
    let confusion = &best.scores.confusion;
    let recalls = dataset.classes.iter().zip(confusion.recalls());
    let recalls: Vec<String> = recalls
        .map(|(label, recall)| format!("{label} {:.2}", recall.unwrap_or(f64::NAN)))
        .collect();
    println!(
        "best epoch {}: accuracy {:.4}, balanced {:.4}, F1 {:.4}, {:.1} s\n{}",
        best.epoch,
        confusion.accuracy(),
        confusion.balanced_accuracy(),
        confusion.macro_f1(),
        begun.elapsed().as_secs_f64(),
        recalls.join(", "),
    );
}

/// Deciles of the cosine with the right text and with the best wrong one.
fn spread(model: &Contrastive, scale: f64, dataset: &Dataset) {
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    let all: Vec<usize> = (0..dataset.val.labels.len()).collect();
    for chosen in all.chunks(128) {
        let (images, labels) =
            pixels::batch(&dataset.val, dataset.side, chosen, tch::Device::Cpu).unwrap();
        let cosines: Tensor = model.logits(&images).unwrap() / scale;
        let truth = labels.unsqueeze(1);
        right.extend(
            Vec::<f64>::try_from(
                cosines
                    .gather(1, &truth, false)
                    .view([-1])
                    .to_kind(Element::Double),
            )
            .unwrap(),
        );
        let others = cosines.scatter_value(1, &truth, -2.0).amax(1, false);
        wrong.extend(Vec::<f64>::try_from(others.to_kind(Element::Double)).unwrap());
    }
    for (name, mut values) in [("right text", right), ("best wrong text", wrong)] {
        values.sort_by(f64::total_cmp);
        let deciles: Vec<String> = (0..=10)
            .map(|d| format!("{:.2}", values[d * (values.len() - 1) / 10]))
            .collect();
        println!("cosine, {name}: deciles {}", deciles.join(" "));
    }
}

struct Row {
    path: std::path::PathBuf,
    label: String,
    val: bool,
}

fn rows(folder: &Path) -> anyhow::Result<Vec<Row>> {
    let text = std::fs::read_to_string(folder.join("labels.csv"))?;
    let row = |line: &str| {
        let mut cells = line.split(',').map(|cell| cell.trim().to_string());
        let (path, label) = (cells.next()?, cells.next()?);
        let hash =
            saga_imaging::blake3_hex(cells.next().unwrap_or_else(|| path.clone()).as_bytes());
        Some(Row {
            path: folder.join(path),
            label,
            val: u64::from_str_radix(&hash[..8], 16).ok()?.is_multiple_of(5),
        })
    };
    Ok(text.lines().skip(1).filter_map(row).collect())
}

fn load(rows: &[Row], classes: Vec<String>, side: u32, prepare: &Prepare, most: usize) -> Dataset {
    let decode = |row: &Row| {
        prepare(
            &saga_imaging::decode(&std::fs::read(&row.path).unwrap(), &Default::default()).unwrap(),
        )
    };
    let decoded: Vec<Vec<u8>> = rows.par_iter().map(decode).collect();
    let (mut train, mut val) = (Split::default(), Split::default());
    for (row, bytes) in rows.iter().zip(decoded) {
        let label = classes
            .iter()
            .position(|class| *class == row.label)
            .unwrap() as u32;
        let split = if row.val { &mut val } else { &mut train };
        if row.val || split.labels.iter().filter(|&&other| other == label).count() < most {
            split.pixels.extend(bytes);
            split.labels.push(label);
        }
    }
    Dataset {
        classes,
        side,
        train,
        val,
    }
}
