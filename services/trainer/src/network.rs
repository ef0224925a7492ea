//! The network of a classifier, ViT or ResNet: new, or a checkpoint's backbone with its head or, for other classes, a new one.

use std::path::Path;

use saga_models::{
    Checkpoint, Model, ModelError, Runtime, directory, preprocess, resnet, vit, weights::Weights,
};
use serde::Serialize;
use tch::Tensor;

use crate::{
    error::TrainError,
    request::{Architecture, Head, Job, Kind},
    shapes,
    stages::Stage,
    start,
};

/// Names of the head's tensors start with this.
const HEAD: &str = "classifier.";
/// A network in training.
pub enum Network {
    Vit(vit::VitClassifier),
    ResNet(resnet::ResNetClassifier),
}

impl Network {
    /// As the job asks for it, for these classes.
    pub fn new(job: &Job, classes: &[String], runtime: Runtime) -> Result<Self, TrainError> {
        let sizes = &job.architecture;
        if job.kind == Kind::ResnetClassifier {
            let config = resnet_config(sizes).with_labels(classes);
            let further = |found: resnet::Config, wanted: &resnet::Config| resnet::Config {
                classes: wanted.classes.clone(),
                ..found
            };
            return Ok(Self::ResNet(build(job, config, runtime, further)?));
        }
        let config = vit_config(sizes).with_labels(classes);
        let further = |found: vit::Config, wanted: &vit::Config| vit::Config {
            classes: wanted.classes.clone(),
            saga_head: wanted.saga_head.clone(),
            drop_path_rate: wanted.drop_path_rate,
            ..found
        };
        Ok(Self::Vit(build(job, config, runtime, further)?))
    }

    /// Logits `[N, C]` f32 with gradients, in training. Under a head that trains alone the backbone computes as when served: it
    /// drops nothing, and its batch statistics stay as they are.
    pub fn train(&self, pixels: &Tensor, stage: Stage) -> Result<Tensor, TrainError> {
        let features = match stage {
            Stage::Head => tch::no_grad(|| self.features(pixels, false))?,
            Stage::All => self.features(pixels, true)?,
        };
        Ok(match self {
            Self::Vit(model) => model.head_t(&features, true)?,
            Self::ResNet(model) => model.head_t(&features)?,
        })
    }

    fn features(&self, pixels: &Tensor, train: bool) -> Result<Tensor, ModelError> {
        match self {
            Self::Vit(model) => model.features_t(pixels, train),
            Self::ResNet(model) => model.features_t(pixels, train),
        }
    }

    /// Logits `[N, C]` f32 as when served.
    pub fn logits(&self, pixels: &Tensor) -> Result<Tensor, TrainError> {
        Ok(match self {
            Self::Vit(model) => model.forward(pixels)?,
            Self::ResNet(model) => model.forward(pixels)?,
        })
    }

    /// Parameters and buffers.
    pub fn weights(&self) -> &Weights {
        match self {
            Self::Vit(model) => model.weights(),
            Self::ResNet(model) => model.weights(),
        }
    }

    /// Writes the Hugging Face directory's files, for images that are prepared like this.
    pub fn write(&self, directory: &Path, images: &preprocess::Config) -> Result<(), ModelError> {
        let config = directory.join(directory::CONFIG);
        match self {
            Self::Vit(model) => directory::write_json(&config, model.config())?,
            Self::ResNet(model) => directory::write_json(&config, model.config())?,
        }
        images.write(directory)?;
        self.weights().save(&directory.join(directory::WEIGHTS))
    }
}

/// A new model of this configuration, or the job's checkpoint as `further` wants it.
fn build<M: Model>(
    job: &Job,
    wanted: M::Config,
    runtime: Runtime,
    further: impl FnOnce(M::Config, &M::Config) -> M::Config,
) -> Result<M, TrainError>
where
    M::Config: Serialize + Clone,
{
    let Some(directory) = &job.init_from else {
        let model = M::new(wanted, runtime, job.seed)?;
        start::from_scratch(&model.weights().tensors(), job.seed)?;
        return Ok(model);
    };
    let checkpoint = Checkpoint::read(directory)?;
    let Some(found) = M::config_of(checkpoint.architecture()) else {
        let why = "holds another kind of model than the request's";
        return Err(TrainError::field("init_from", why));
    };
    let (found_json, wanted_json) = (shapes::json(&found)?, shapes::json(&wanted)?);
    shapes::same(&found_json, &wanted_json)?;
    let same_head = ["id2label", "saga_head"]
        .iter()
        .all(|key| found_json.get(key) == wanted_json.get(key));
    let mut tensors = checkpoint.into_tensors();
    let mut model = M::new(further(found, &wanted), runtime, job.seed)?;
    if !same_head {
        tracing::info!("the checkpoint is of other classes or another head; a new head is trained");
        tensors.retain(|name, _| !name.starts_with(HEAD));
        let mut head = model.weights().tensors();
        head.retain(|name, _| name.starts_with(HEAD));
        start::from_scratch(&head, job.seed)?;
        tensors.extend(head);
    }
    model.base_mut().weights.fill(&tensors)?;
    Ok(model)
}

fn vit_config(sizes: &Architecture) -> vit::Config {
    vit::Config {
        hidden_size: sizes.hidden_size.into(),
        num_hidden_layers: sizes.num_hidden_layers.into(),
        num_attention_heads: sizes.num_attention_heads.into(),
        intermediate_size: sizes.intermediate_size.into(),
        image_size: sizes.image_size.into(),
        patch_size: sizes.patch_size.into(),
        drop_path_rate: sizes.drop_path,
        saga_head: match sizes.head {
            Head::Linear => None,
            Head::Mlp { hidden_size } => Some(vit::SagaHead {
                hidden: hidden_size.into(),
                dropout: 0.3,
            }),
        },
        ..vit::Config::default()
    }
}

/// The ResNets of the paper's table 1, of any width.
fn resnet_config(sizes: &Architecture) -> resnet::Config {
    use resnet::LayerType::{Basic, Bottleneck};
    let (layer_type, depths) = match sizes.num_hidden_layers {
        18 => (Basic, [2, 2, 2, 2]),
        34 => (Basic, [3, 4, 6, 3]),
        101 => (Bottleneck, [3, 4, 23, 3]),
        _ => (Bottleneck, [3, 4, 6, 3]),
    };
    let width = i64::from(sizes.hidden_size);
    let first = match layer_type {
        Basic => width / 8,
        Bottleneck => width / 32,
    };
    resnet::Config {
        embedding_size: first,
        hidden_sizes: vec![width / 8, width / 4, width / 2, width],
        depths: depths.to_vec(),
        layer_type,
        ..resnet::Config::default()
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind as Element};

    use super::*;
    use crate::request;

    fn job(kind: Kind, layers: u32, init_from: Option<&Path>) -> Job {
        Job {
            kind,
            architecture: Architecture {
                image_size: 32,
                patch_size: 8,
                hidden_size: 32,
                num_hidden_layers: layers,
                num_attention_heads: 2,
                intermediate_size: 64,
                head: Head::Linear,
                drop_path: 0.0,
            },
            init_from: init_from.map(Path::to_path_buf),
            ..request::tests::job()
        }
    }

    fn network(job: &Job, classes: &[&str]) -> Result<Network, TrainError> {
        let classes: Vec<String> = classes.iter().map(|class| class.to_string()).collect();
        Network::new(job, &classes, Runtime::REFERENCE)
    }

    fn written(kind: Kind, layers: u32) -> (tempfile::TempDir, Network) {
        let folder = tempfile::tempdir().unwrap();
        let network = network(&job(kind, layers, None), &["a", "b"]).unwrap();
        network
            .write(folder.path(), &preprocess::Config::vit(32))
            .unwrap();
        (folder, network)
    }

    #[test]
    fn a_checkpoint_keeps_its_backbone_and_for_its_own_classes_its_head() {
        for (kind, layers) in [(Kind::VitClassifier, 2), (Kind::ResnetClassifier, 18)] {
            let (folder, first) = written(kind, layers);
            let again = job(kind, layers, Some(folder.path()));
            for classes in [["a", "b"].as_slice(), &["b", "a"], &["x", "y", "z"]] {
                let next = network(
                    &Job {
                        seed: 9,
                        ..again.clone()
                    },
                    classes,
                )
                .unwrap();
                for (name, tensor) in next.weights().tensors() {
                    let same = first.weights().tensors()[&name] == tensor;
                    let kept = !name.starts_with(HEAD) || classes == ["a", "b"];
                    let zero = tensor.abs().sum(Element::Float).double_value(&[]) == 0.0;
                    assert!(same == kept || zero, "{name} for {classes:?}");
                }
            }
        }
    }

    #[test]
    fn a_checkpoint_of_another_architecture_lists_what_differs() {
        let (folder, _) = written(Kind::VitClassifier, 2);
        let refused = |kind, layers| {
            let refused = network(&job(kind, layers, Some(folder.path())), &["a", "b"]);
            refused.err().unwrap().to_string()
        };
        let said = refused(Kind::VitClassifier, 3);
        assert!(
            said.ends_with("request's: num_hidden_layers is 2, not 3"),
            "{said}"
        );
        let said = refused(Kind::ResnetClassifier, 18);
        assert!(said.contains("another kind of model"), "{said}");
    }

    #[test]
    fn a_resnet_trains_its_statistics_with_its_backbone() {
        let (_folder, network) = written(Kind::ResnetClassifier, 18);
        let statistics = || {
            network.weights().tensors()["resnet.embedder.embedder.normalization.running_mean"]
                .copy()
        };
        let before = statistics();
        let images = Tensor::rand([4, 3, 32, 32], (Element::Float, Device::Cpu));
        let step = |stage| {
            let logits = network.train(&images, stage).unwrap();
            logits.square().mean(Element::Float).backward();
        };
        step(Stage::Head);
        assert_eq!(statistics(), before, "the backbone is frozen");
        for (name, tensor) in network.weights().tensors() {
            assert_eq!(tensor.grad().defined(), name.starts_with(HEAD), "{name}");
        }
        step(Stage::All);
        assert_ne!(statistics(), before);
        for (name, tensor) in network.weights().tensors() {
            let trained = !name.contains("running") && !name.contains("batches");
            assert_eq!(tensor.requires_grad(), trained, "{name}");
            assert!(!trained || tensor.grad().defined(), "{name}");
        }
    }
}
