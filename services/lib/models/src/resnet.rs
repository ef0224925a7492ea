//! ResNet for image classification (He et al. 2015), as transformers' `ResNetForImageClassification`: basic or bottleneck
//! blocks in four stages, batch normalisation, average pooling, one linear map.

mod config;

pub use config::{Config, LayerType};

use crate::checkpoint::Architecture;
use crate::classifier::gradient;
use crate::error::{ModelError, Result};
use crate::fused::{Sealing, forget};
use crate::int8::not_a_transformer;
use crate::layers::{BatchNorm, Linear};
use crate::model::{Base, Model, max_difference};
use crate::weights::{Init, Scope};
use saga_kernels::Ranges;
use tch::{Kind, Tensor};

/// Convolution without bias and its normalisation; keys `convolution.weight` and `normalization.*`.
struct ConvNorm {
    weight: Tensor,
    normalization: BatchNorm,
    stride: i64,
    /// So that a stride of one keeps the size.
    padding: i64,
    sealed: Option<Sealed>,
}

/// The same for serving alone.
struct Sealed {
    /// The channels of a pixel lie side by side in memory.
    weight: Tensor,
    /// In f32 the normalisation is part of weight and bias. Weights rounded to fewer digits would be rounded twice.
    bias: Option<Tensor>,
}

impl ConvNorm {
    fn new(scope: &Scope, inputs: i64, outputs: i64, kernel: i64, stride: i64) -> Result<Self> {
        let init = Init::Normal((2.0 / (outputs * kernel * kernel) as f64).sqrt());
        let shape = [outputs, inputs, kernel, kernel];
        Ok(Self {
            weight: scope.at("convolution").parameter("weight", &shape, init)?,
            normalization: BatchNorm::new(&scope.at("normalization"), outputs)?,
            stride,
            padding: kernel / 2,
            sealed: None,
        })
    }

    /// Prepares for serving; the store's weight is freed.
    fn seal(&mut self) -> Result<()> {
        let (weight, bias) = match self.weight.f_kind()? {
            Kind::Float => {
                let [factor, bias] = self.normalization.factor_and_bias()?;
                let factor = factor.f_reshape([-1, 1, 1, 1])?;
                (self.weight.f_mul(&factor)?, Some(bias))
            }
            _ => (self.weight.shallow_clone(), None),
        };
        let weight = channels_last(&weight)?;
        self.sealed = Some(Sealed { weight, bias });
        forget(&self.weight)
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let convolved = |weight: &Tensor, bias: Option<&Tensor>| {
            x.f_conv2d(weight, bias, [self.stride; 2], [self.padding; 2], [1, 1], 1)
        };
        let x = match &self.sealed {
            Some(Sealed {
                weight,
                bias: Some(bias),
            }) => return Ok(convolved(weight, Some(bias))?),
            Some(Sealed { weight, bias: None }) => convolved(weight, None)?,
            None => convolved(&self.weight.f_to_kind(x.f_kind()?)?, None)?,
        };
        self.normalization.forward(&x, train)
    }
}

/// The same numbers [N, channels, H, W], those of one pixel side by side in memory: the order in which oneDNN convolves. What follows
/// keeps it. On one core of an EPYC a ResNet-18 of 64 pixels trains 1.4 times as fast with it, and on two a ResNet-50 answers a batch of 16 in
/// 80 ms an image for 180 in f32 and in 48 for 80 in bf16.
fn channels_last(x: &Tensor) -> Result<Tensor> {
    let pixels = x.f_permute([0, 2, 3, 1])?.f_contiguous()?;
    Ok(pixels.f_permute([0, 3, 1, 2])?)
}

/// A residual block; keys `layer.{0,1,2}` and, where the shape changes, `shortcut`.
struct Block {
    layer: Vec<ConvNorm>,
    shortcut: Option<ConvNorm>,
}

impl Block {
    fn new(scope: &Scope, config: &Config, inputs: i64, outputs: i64, stride: i64) -> Result<Self> {
        let conv = |index: i64, from, to, kernel, stride| {
            ConvNorm::new(&scope.at("layer").at(index), from, to, kernel, stride)
        };
        let layer = match config.layer_type {
            LayerType::Basic => vec![
                conv(0, inputs, outputs, 3, stride)?,
                conv(1, outputs, outputs, 3, 1)?,
            ],
            LayerType::Bottleneck => {
                let inner = outputs / 4;
                let (first, second) = match config.downsample_in_bottleneck {
                    true => (stride, 1),
                    false => (1, stride),
                };
                vec![
                    conv(0, inputs, inner, 1, first)?,
                    conv(1, inner, inner, 3, second)?,
                    conv(2, inner, outputs, 1, 1)?,
                ]
            }
        };
        let changes = inputs != outputs || stride != 1;
        let shortcut =
            changes.then(|| ConvNorm::new(&scope.at("shortcut"), inputs, outputs, 1, stride));
        Ok(Self {
            layer,
            shortcut: shortcut.transpose()?,
        })
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let mut inner = x.shallow_clone();
        for (index, layer) in self.layer.iter().enumerate() {
            if index > 0 {
                inner = inner.f_relu_()?;
            }
            inner = layer.forward(&inner, train)?;
        }
        let sum = match &self.shortcut {
            Some(shortcut) => inner.f_add_(&shortcut.forward(x, train)?)?,
            None => inner.f_add_(x)?,
        };
        let mut sum = sum;
        Ok(sum.f_relu_()?)
    }
}

/// A ResNet classifier with its weights.
pub struct ResNetClassifier {
    base: Base<Config>,
    embedder: ConvNorm,
    stages: Vec<Block>,
    classifier: Linear,
}

impl ResNetClassifier {
    /// Logits [N, C] in f32 for `pixel_values` [N, channels, height, width], without gradients.
    ///
    /// # Errors
    /// [`ModelError::Input`] for another number of dimensions or channels.
    pub fn forward(&self, pixel_values: &Tensor) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        self.forward_t(pixel_values, false)
    }

    /// Logits as [`Self::forward`], with gradients; `train` normalises by the batch's statistics and keeps their running mean.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn forward_t(&self, pixel_values: &Tensor, train: bool) -> Result<Tensor> {
        self.head_t(&self.features_t(pixel_values, train)?)
    }

    /// The mean of each channel of the last stage, [N, channels] in f32: what the head sees.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn features_t(&self, pixel_values: &Tensor, train: bool) -> Result<Tensor> {
        pooled(&self.last_stage(pixel_values, train)?)
    }

    /// Logits of what [`Self::features_t`] gave.
    ///
    /// # Errors
    /// [`ModelError::Torch`] for another width.
    pub fn head_t(&self, features: &Tensor) -> Result<Tensor> {
        self.classifier.forward(features)
    }

    /// What leaves the last stage, and the gradient of `class`'s logit with respect to it: both [N, channels, rows, columns].
    pub(crate) fn activations(&self, pixel_values: &Tensor, class: i64) -> Result<[Tensor; 2]> {
        let features = {
            let _guard = tch::no_grad_guard();
            self.last_stage(pixel_values, false)?
        };
        let leaf = features.f_set_requires_grad(true)?;
        let gradient = gradient(&self.head_t(&pooled(&leaf)?)?, class, &leaf)?;
        Ok([leaf.f_detach()?, gradient])
    }

    fn last_stage(&self, pixel_values: &Tensor, train: bool) -> Result<Tensor> {
        let channels = self.base.config.num_channels;
        let shape = pixel_values.size();
        if shape.len() != 4 || shape.get(1) != Some(&channels) {
            let why =
                format!("pixel_values has shape {shape:?}; the model takes [N, {channels}, H, W]");
            return Err(ModelError::Input(why));
        }
        let x = pixel_values
            .f_to_device(self.base.weights.var_store().device())?
            .f_to_kind(self.base.precision.kind())?;
        let x = self
            .embedder
            .forward(&channels_last(&x)?, train)?
            .f_relu()?;
        let x = x.f_max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)?;
        self.stages
            .iter()
            .try_fold(x, |x, block| block.forward(&x, train))
    }
}

/// [N, channels, rows, columns] to the mean of each channel.
fn pooled(activations: &Tensor) -> Result<Tensor> {
    Ok(activations.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float)?)
}

impl Model for ResNetClassifier {
    type Config = Config;

    /// The head.
    const KEPT_F32: &'static str = "classifier.";
    /// Of a probability.
    const MAX_DRIFT: f64 = 0.02;
    const OUTPUT: &'static str = "probabilities";

    fn build(base: Base<Config>) -> Result<Self> {
        let Base {
            config, weights, ..
        } = &base;
        config.check()?;
        let resnet = weights.root().at("resnet");
        let embedder = resnet.at("embedder.embedder");
        let embedder = ConvNorm::new(&embedder, config.num_channels, config.embedding_size, 7, 2)?;
        let mut stages = Vec::new();
        let mut inputs = config.embedding_size;
        for (stage, (&outputs, &depth)) in
            config.hidden_sizes.iter().zip(&config.depths).enumerate()
        {
            for index in 0..depth {
                let scope = resnet.at(format!("encoder.stages.{stage}.layers.{index}"));
                let halves = index == 0 && (stage > 0 || config.downsample_in_first_stage);
                let stride = if halves { 2 } else { 1 };
                stages.push(Block::new(&scope, config, inputs, outputs, stride)?);
                inputs = outputs;
            }
        }
        let init = Init::Normal((inputs as f64).powf(-0.5));
        let head = weights.root().at("classifier.1");
        let classifier = Linear::new(&head, inputs, config.classes.classes(), init)?;
        Ok(Self {
            embedder,
            stages,
            classifier,
            base,
        })
    }

    fn config_of(architecture: &Architecture) -> Option<Config> {
        match architecture {
            Architecture::ResNet(config) => Some(config.clone()),
            _ => None,
        }
    }

    fn base(&self) -> &Base<Config> {
        &self.base
    }

    fn base_mut(&mut self) -> &mut Base<Config> {
        &mut self.base
    }

    fn seal(&mut self, sealing: &mut Sealing) -> Result<()> {
        match sealing {
            Sealing::Float => {
                let blocks = self.stages.iter_mut();
                let of_blocks =
                    blocks.flat_map(|block| block.layer.iter_mut().chain(&mut block.shortcut));
                std::iter::once(&mut self.embedder)
                    .chain(of_blocks)
                    .try_for_each(ConvNorm::seal)
            }
            Sealing::Observed | Sealing::Int8(_) => Err(not_a_transformer()),
        }
    }

    fn take_seen(&self) -> Vec<Ranges> {
        Vec::new()
    }

    /// Any side will do; this is the one that ResNets are trained with.
    fn image_shape(&self) -> (i64, i64) {
        (self.base.config.num_channels, 224)
    }

    fn canary_output(&self, pixel_values: &Tensor) -> Result<Tensor> {
        Ok(self.forward(pixel_values)?.f_softmax(-1, Kind::Float)?)
    }

    fn drift(reference: &Tensor, output: &Tensor) -> Result<f64> {
        max_difference(reference, output)
    }
}
