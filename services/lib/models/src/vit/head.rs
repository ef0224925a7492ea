//! What turns the final CLS token into logits: a linear map, or the head SAGA was described with.

use super::{Config, INIT};
use crate::error::Result;
use crate::layers::{Linear, dropout};
use crate::weights::{Init, Scope};
use tch::{Device, Kind, Tensor};

pub(super) enum Head {
    Linear(Linear),
    Saga {
        hidden: Linear,
        norm: BatchNorm,
        dropout: f64,
        output: Linear,
    },
}

impl Head {
    pub(super) fn new(scope: &Scope, config: &Config) -> Result<Self> {
        let classes = config.id2label.len() as i64;
        let Some(head) = &config.saga_head else {
            return Ok(Self::Linear(Linear::new(
                scope,
                config.hidden_size,
                classes,
                INIT,
            )?));
        };
        Ok(Self::Saga {
            hidden: Linear::new(&scope.at(0), config.hidden_size, head.hidden, INIT)?,
            norm: BatchNorm::new(&scope.at(1), head.hidden)?,
            dropout: head.dropout,
            output: Linear::new(&scope.at(4), head.hidden, classes, INIT)?,
        })
    }

    pub(super) fn forward(&self, cls: &Tensor, train: bool) -> Result<Tensor> {
        match self {
            Self::Linear(linear) => linear.forward(cls),
            Self::Saga {
                hidden,
                norm,
                dropout: rate,
                output,
            } => {
                let x = norm.forward(&hidden.forward(cls)?, train)?.f_gelu("none")?;
                output.forward(&dropout(x, *rate, train)?)
            }
        }
    }
}

/// `torch.nn.BatchNorm1d` with its defaults (eps 1e-5, momentum 0.1).
pub(in crate::vit) struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    num_batches_tracked: Tensor,
}

impl BatchNorm {
    fn new(scope: &Scope, width: i64) -> Result<Self> {
        let float = (Kind::Float, Device::Cpu);
        Ok(Self {
            weight: scope.parameter("weight", &[width], Init::Const(1.0))?,
            bias: scope.parameter("bias", &[width], Init::Const(0.0))?,
            running_mean: scope.buffer("running_mean", Tensor::f_zeros([width], float)?)?,
            running_var: scope.buffer("running_var", Tensor::f_ones([width], float)?)?,
            num_batches_tracked: scope.buffer(
                "num_batches_tracked",
                Tensor::f_zeros([0_i64; 0], (Kind::Int64, Device::Cpu))?,
            )?,
        })
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        if train {
            let _ = self.num_batches_tracked.shallow_clone().f_add_scalar_(1)?;
        }
        let (mean, var) = (Some(&self.running_mean), Some(&self.running_var));
        Ok(x.f_batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            mean,
            var,
            train,
            0.1,
            1e-5,
            false,
        )?)
    }
}
