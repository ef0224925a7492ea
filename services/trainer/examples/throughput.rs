//! How many images a second the loop trains on, with images of noise: `throughput resnet|small|base [STEPS]`.
//!
//! `resnet` is the classifier of the demonstration, `small` a ViT of as many pixels, `base` ViT-B/16 at batch 32. Prints the
//! figures of the second of two epochs of so many steps as JSON. `throughput.py` beside it runs the same in PyTorch, in turns
//! with this.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use saga_models::Runtime;
use saga_proto::trainer::v1 as proto;
use trainer::{
    classifier::Classifier,
    data::{Dataset, Split},
    fit::{Epoch, Learner as _, Observer, fit},
    loader::Source,
    master::MasterWeights,
    preprocessing,
    request::Job,
};

const CLASSES: usize = 8;

/// Prints the last epoch.
struct Print;

impl Observer for Print {
    fn epoch(&self, epoch: &Epoch) {
        if epoch.epoch == epoch.epochs {
            println!(
                "{{\"images_per_second\": {:.2}, \"utilisation\": {:.4}, \"loss\": {:.4}}}",
                epoch.images_per_second, epoch.utilisation, epoch.train_loss
            );
        }
    }

    fn cancelled(&self) -> bool {
        false
    }
}

/// Kind and size, and images of a batch.
fn model(name: &str) -> (proto::ModelKind, proto::Architecture, u32) {
    let resnet = proto::Architecture {
        image_size: 64,
        hidden_size: 128,
        num_hidden_layers: 18,
        ..Default::default()
    };
    let small = proto::Architecture {
        image_size: 64,
        patch_size: 8,
        hidden_size: 128,
        num_hidden_layers: 4,
        num_attention_heads: 4,
        intermediate_size: 512,
        drop_path: 0.05,
        ..Default::default()
    };
    let base = proto::Architecture {
        image_size: 224,
        patch_size: 16,
        hidden_size: 768,
        num_hidden_layers: 12,
        num_attention_heads: 12,
        intermediate_size: 3072,
        ..Default::default()
    };
    let vit = proto::ModelKind::VitClassifier;
    match name {
        "resnet" => (proto::ModelKind::ResnetClassifier, resnet, 64),
        "small" => (vit, small, 64),
        "base" => (vit, base, 32),
        other => panic!("{other:?} is none of resnet, small and base"),
    }
}

/// Noise that is the same every time.
fn noise(images: usize, side: u32) -> Split {
    let mut state = 1u32;
    let mut byte = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    Split {
        pixels: (0..images * 3 * (side * side) as usize)
            .map(&mut byte)
            .collect(),
        labels: (0..images).map(|index| (index % CLASSES) as u32).collect(),
        synthetic: Vec::new(),
        names: Vec::new(),
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "resnet".into());
    let (kind, architecture, batch_size) = model(&name);
    let steps: u32 = arguments.next().map_or(Ok(20), |steps| steps.parse())?;
    let job = Job::try_from(proto::StreamTrainingRequest {
        kind: kind.into(),
        dataset_id: "noise".into(),
        output: "none".into(),
        seed: 1,
        settings: Some(proto::TrainingSettings {
            steps: 2 * steps,
            batch_size,
            learning_rate: 1e-4,
            weight_decay: 0.05,
            ema_decay: 0.98,
            augment: true,
            gradient_clip: 1.0,
            ..Default::default()
        }),
        architecture: Some(architecture),
        ..Default::default()
    })?;
    let side = job.architecture.image_size;
    let dataset = Dataset {
        classes: (0..CLASSES).map(|class| class.to_string()).collect(),
        side,
        train: noise((steps * batch_size) as usize, side),
        val: noise(CLASSES, side),
    };
    let runtime = Runtime::select("auto", "auto")?;
    eprintln!("{runtime}");
    let mut model = Classifier::new(&job, &dataset, preprocessing::of(&job)?, runtime)?;
    let weights = MasterWeights::new(model.weights().tensors())?;
    let source = Source {
        dataset: &dataset,
        settings: &job.settings,
        seed: job.seed,
    };
    fit(&mut model, weights, source, None, &Print).expect("training ends well");
    Ok(())
}
