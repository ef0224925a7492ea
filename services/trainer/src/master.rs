//! A model's parameters as one flat f32 vector beside the model's own tensors.
//!
//! The optimiser, the moving average and gradient clipping work on the flat vector in a few operations, whatever the
//! number of layers; the model's tensors receive copies, which may be rounded to bf16 (mixed precision with master
//! weights: Micikevicius et al. 2018, <https://arxiv.org/abs/1710.03740>).

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use crate::error::TrainError;

/// The variables of one model.
#[derive(Debug)]
pub struct MasterWeights {
    flat: Tensor,
    /// Trained variables by name; their values in order of names make up `flat`.
    parameters: Vec<(String, Tensor)>,
    /// Not trained, for example the running statistics of batch normalisation.
    buffers: Vec<Tensor>,
}

impl MasterWeights {
    /// Of variables by name that share their storage with a model.
    pub fn new(variables: BTreeMap<String, Tensor>) -> Result<Self, TrainError> {
        let (parameters, buffers): (Vec<_>, Vec<_>) = variables
            .into_iter()
            .partition(|(_, tensor)| tensor.requires_grad());
        let flat =
            tch::no_grad(|| flatten(parameters.iter().map(|(_, tensor)| Ok(tensor.detach()))))?;
        Ok(Self {
            flat,
            parameters,
            buffers: buffers.into_iter().map(|(_, tensor)| tensor).collect(),
        })
    }

    /// Parameters, `[P]` f32.
    pub fn flat(&self) -> &Tensor {
        &self.flat
    }

    /// Parameters to update in place, `[P]` f32; [`publish`](Self::publish) hands them to the model.
    pub fn flat_mut(&mut self) -> &mut Tensor {
        &mut self.flat
    }

    /// The gradients of the last backward pass, `[P]` f32, zero where a parameter took no part; clears them.
    pub fn take_gradient(&mut self) -> Result<Tensor, TrainError> {
        let gradient = tch::no_grad(|| {
            flatten(self.parameters.iter().map(|(_, tensor)| {
                let gradient = tensor.f_grad()?;
                if gradient.defined() {
                    Ok(gradient)
                } else {
                    tensor.f_zeros_like()
                }
            }))
        })?;
        self.parameters
            .iter_mut()
            .for_each(|(_, tensor)| tensor.zero_grad());
        Ok(gradient)
    }

    /// 1 where weight decay applies, 0 elsewhere, `[P]` f32: matrices and convolutions decay; biases, norms, single tokens
    /// and position embeddings do not.
    pub fn decay_mask(&self) -> Result<Tensor, TrainError> {
        self.per_parameter(|name, tensor| {
            let decays = tensor.dim() >= 2
                && name.ends_with("weight")
                && !name.contains("position_embedding");
            f64::from(u8::from(decays))
        })
    }

    /// One value for each parameter, spread over its elements: `[P]` f32.
    pub fn per_parameter(
        &self,
        value: impl Fn(&str, &Tensor) -> f64,
    ) -> Result<Tensor, TrainError> {
        flatten(self.parameters.iter().map(|(name, tensor)| {
            let options = (Kind::Float, tensor.device());
            Tensor::f_full(tensor.size(), value(name, tensor), options)
        }))
    }

    /// Names of the parameters, in the order of [`flat`](Self::flat).
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|(name, _)| name.as_str())
    }

    /// From now on gradients flow to parameters of these names alone.
    pub fn train_only(&self, wanted: impl Fn(&str) -> bool) -> Result<(), TrainError> {
        for (name, tensor) in &self.parameters {
            let _ = tensor.f_set_requires_grad(wanted(name))?;
        }
        Ok(())
    }

    /// Copies the parameters into the model.
    pub fn publish(&mut self) -> Result<(), TrainError> {
        self.lend(&self.flat.shallow_clone())
    }

    /// Copies other parameters `[P]` into the model, until [`publish`](Self::publish).
    pub fn lend(&mut self, flat: &Tensor) -> Result<(), TrainError> {
        tch::no_grad(|| {
            let mut start = 0;
            for (_, tensor) in &mut self.parameters {
                let length = tensor.numel() as i64;
                tensor.f_copy_(
                    &flat
                        .f_narrow(0, start, length)?
                        .f_view(tensor.size().as_slice())?,
                )?;
                start += length;
            }
            Ok(())
        })
    }

    /// The untrained variables, in order of their names.
    pub fn buffers(&self) -> &[Tensor] {
        &self.buffers
    }

    /// Copies of the untrained variables.
    pub fn copy_buffers(&self) -> Result<Vec<Tensor>, TrainError> {
        self.buffers.iter().map(copy_of).collect()
    }

    /// Puts earlier parameters and buffers back, here and in the model.
    pub fn restore(&mut self, flat: &Tensor, buffers: &[Tensor]) -> Result<(), TrainError> {
        tch::no_grad(|| {
            for (buffer, earlier) in self.buffers.iter_mut().zip(buffers) {
                buffer.f_copy_(earlier)?;
            }
            Ok::<(), TrainError>(self.flat.f_copy_(flat)?)
        })?;
        self.publish()
    }
}

/// A copy without gradients.
pub fn copy_of(tensor: &Tensor) -> Result<Tensor, TrainError> {
    tch::no_grad(|| {
        let mut copy = tensor.f_empty_like()?;
        copy.f_copy_(tensor)?;
        Ok(copy)
    })
}

fn flatten(
    tensors: impl Iterator<Item = Result<Tensor, tch::TchError>>,
) -> Result<Tensor, TrainError> {
    let parts = tensors
        .map(|tensor| tensor?.f_to_kind(Kind::Float)?.f_reshape([-1]))
        .collect::<Result<Vec<_>, tch::TchError>>()?;
    if parts.is_empty() {
        return Ok(Tensor::f_zeros([0], (Kind::Float, Device::Cpu))?);
    }
    Ok(Tensor::f_cat(&parts, 0)?)
}

#[cfg(test)]
mod tests {
    use tch::nn::{self, VarStore};

    use super::*;

    fn layer() -> (VarStore, MasterWeights) {
        let store = VarStore::new(Device::Cpu);
        let _ = nn::linear(store.root() / "dense", 3, 2, nn::LinearConfig::default());
        let _ = nn::batch_norm1d(store.root() / "norm", 2, nn::BatchNormConfig::default());
        let weights = MasterWeights::new(store.variables().into_iter().collect()).unwrap();
        (store, weights)
    }

    #[test]
    fn published_weights_reach_the_model() {
        let (store, mut weights) = layer();
        assert_eq!(weights.flat().size(), [3 * 2 + 2 + 2 + 2]);
        let counted = Tensor::arange(12, (Kind::Float, Device::Cpu));
        weights.flat_mut().copy_(&counted);
        weights.publish().unwrap();
        // In order of names: dense.bias, dense.weight, norm.bias, norm.weight.
        assert_eq!(store.variables()["dense.weight"].double_value(&[1, 2]), 7.0);
        weights.lend(&(counted + 100.0)).unwrap();
        assert_eq!(store.variables()["norm.bias"].double_value(&[0]), 108.0);
        weights.publish().unwrap();
        assert_eq!(store.variables()["norm.bias"].double_value(&[0]), 8.0);
    }

    #[test]
    fn restores_parameters_and_buffers() {
        let (store, mut weights) = layer();
        let (flat, buffers) = (weights.flat().copy(), weights.copy_buffers().unwrap());
        let _ = tch::no_grad(|| {
            store.variables()["norm.running_mean"]
                .shallow_clone()
                .fill_(3.0)
        });
        let _ = weights.flat_mut().zero_();
        weights.restore(&flat, &buffers).unwrap();
        assert_eq!(
            store.variables()["norm.running_mean"].double_value(&[0]),
            0.0
        );
        assert_eq!(weights.flat(), &flat);
    }

    #[test]
    fn only_matrices_decay() {
        let (_store, weights) = layer();
        assert_eq!(
            weights
                .decay_mask()
                .unwrap()
                .sum(Kind::Double)
                .double_value(&[]),
            6.0
        );
    }

    #[test]
    fn the_gradient_is_taken_once() {
        let (store, mut weights) = layer();
        let dense = store.variables()["dense.weight"].shallow_clone();
        (&dense * 2.0).sum(Kind::Float).backward();
        assert_eq!(
            weights
                .take_gradient()
                .unwrap()
                .sum(Kind::Double)
                .double_value(&[]),
            12.0
        );
        assert_eq!(
            weights
                .take_gradient()
                .unwrap()
                .sum(Kind::Double)
                .double_value(&[]),
            0.0
        );
    }
}
