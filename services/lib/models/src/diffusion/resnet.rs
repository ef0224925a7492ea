//! Residual blocks of convolutions and the changes of size between them, as diffusers' `ResnetBlock2D`, `Downsample2D` and
//! `Upsample2D`; keys mirror theirs.

use super::layers::{Conv2d, GroupNorm, image, linear, pointwise, tokens};
use crate::error::Result;
use crate::fused::Fused;
use crate::weights::Scope;
use saga_kernels::Then;
use tch::Tensor;

/// What the residual blocks of one model have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Norms {
    pub(super) groups: i64,
    pub(super) eps: f64,
}

/// Two convolutions with their normalisations, told the time between them, beside a shortcut.
pub(super) struct ResnetBlock2D {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Fused>,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Fused>,
}

impl ResnetBlock2D {
    /// `time` is the width of the time embedding, where the model has one; `rows` about how many pixels pass at a time.
    pub(super) fn new(
        scope: &Scope,
        inputs: i64,
        outputs: i64,
        time: Option<i64>,
        norms: Norms,
        rows: i64,
    ) -> Result<Self> {
        let norm = |name: &str, channels| {
            GroupNorm::new(&scope.at(name), norms.groups, channels, norms.eps)
        };
        let project = |width| linear(&scope.at("time_emb_proj"), width, outputs, 2);
        let shortcut = || pointwise(&scope.at("conv_shortcut"), inputs, outputs, rows);
        Ok(Self {
            norm1: norm("norm1", inputs)?,
            conv1: Conv2d::new(&scope.at("conv1"), inputs, outputs, rows)?,
            time_emb_proj: time.map(project).transpose()?,
            norm2: norm("norm2", outputs)?,
            conv2: Conv2d::new(&scope.at("conv2"), outputs, outputs, rows)?,
            conv_shortcut: (inputs != outputs).then(shortcut).transpose()?,
        })
    }

    /// `count` of them one after the other below `resnets`, of which the first changes the channels; none is told the time.
    pub(super) fn row(
        scope: &Scope,
        count: i64,
        [inputs, channels]: [i64; 2],
        norms: Norms,
        rows: i64,
    ) -> Result<Vec<Self>> {
        let resnet = |index| {
            let inputs = if index == 0 { inputs } else { channels };
            let scope = scope.at("resnets").at(index);
            Self::new(&scope, inputs, channels, None, norms, rows)
        };
        (0..count).map(resnet).collect()
    }

    /// [N, inputs, height, width] to [N, outputs, height, width]; `time` [1, width] after its activation.
    pub(super) fn forward(&self, x: &Tensor, time: Option<&Tensor>) -> Result<Tensor> {
        let mut inner = self.conv1.forward(&self.norm1.forward_silu(x)?)?;
        if let Some((project, time)) = self.time_emb_proj.as_ref().zip(time) {
            let time = project.forward(time, Then::Nothing)?;
            inner = inner.f_add_(&time.f_unsqueeze(-1)?.f_unsqueeze(-1)?)?;
        }
        let mut inner = self.conv2.forward(&self.norm2.forward_silu(&inner)?)?;
        match &self.conv_shortcut {
            Some(shortcut) => {
                let sum = shortcut.forward(&tokens(x)?, Then::Add(&tokens(&inner)?))?;
                image(&sum, x)
            }
            None => Ok(inner.f_add_(x)?),
        }
    }
}

/// Halves both sides by a convolution.
pub(super) struct Downsample2D {
    conv: Conv2d,
    pads_end: bool,
}

impl Downsample2D {
    /// Of about `rows` pixels; padded on all sides, or where `pads_end` on the right and below alone.
    pub(super) fn new(scope: &Scope, channels: i64, pads_end: bool, rows: i64) -> Result<Self> {
        let padding = if pads_end { 0 } else { 1 };
        let conv = Conv2d::with_stride(&scope.at("conv"), [channels; 2], 2, padding, rows)?;
        Ok(Self { conv, pads_end })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self.pads_end {
            true => self.conv.forward(&x.f_constant_pad_nd([0, 1, 0, 1])?),
            false => self.conv.forward(x),
        }
    }
}

/// Repeats pixels, then a convolution.
pub(super) struct Upsample2D {
    conv: Conv2d,
}

impl Upsample2D {
    pub(super) fn new(scope: &Scope, channels: i64, rows: i64) -> Result<Self> {
        Ok(Self {
            conv: Conv2d::new(&scope.at("conv"), channels, channels, 4 * rows)?,
        })
    }

    /// To `size` (height, width), or twice the size.
    pub(super) fn forward(&self, x: &Tensor, size: Option<[i64; 2]>) -> Result<Tensor> {
        let (_, _, height, width) = x.size4()?;
        let size = size.unwrap_or([2 * height, 2 * width]);
        self.conv
            .forward(&x.f_upsample_nearest2d(size, None, None)?)
    }
}
