//! What turns the final CLS token into logits: a linear map, or the head SAGA was described with.

use super::{Config, INIT};
use crate::error::Result;
use crate::layers::{BatchNorm, Linear, dropout};
use crate::weights::Scope;
use tch::Tensor;

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
        let classes = config.classes.classes();
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
