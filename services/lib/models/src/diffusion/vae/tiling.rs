//! An image in overlapping tiles, blended where they meet, so that memory does not grow with its size: diffusers' tiling, to the
//! same figures.

use crate::error::Result;
use tch::{Kind, Tensor};

/// The part of a tile that overlaps the next one is one of this many.
const OVERLAP: i64 = 4;

/// Sides of square tiles.
pub(super) struct Tiles {
    /// Of what goes in.
    pub(super) from: i64,
    /// Of what comes out.
    pub(super) to: i64,
}

impl Tiles {
    /// [1, channels, height, width] through a model, tile by tile.
    pub(super) fn through(
        &self,
        image: &Tensor,
        model: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let (_, _, height, width) = image.size4()?;
        let stride = (self.from - self.from / OVERLAP).max(1) as usize;
        let blend = self.to / OVERLAP;
        let kept = self.to - blend;
        let mut above: Vec<Tensor> = Vec::new();
        let mut rows = Vec::new();
        for y in (0..height).step_by(stride) {
            let mut row: Vec<Tensor> = Vec::new();
            for (column, x) in (0..width).step_by(stride).enumerate() {
                let tile = image.f_narrow(2, y, self.from.min(height - y))?.f_narrow(
                    3,
                    x,
                    self.from.min(width - x),
                )?;
                let mut made = model(&tile)?.f_to_kind(Kind::Float)?;
                if let Some(above) = above.get(column) {
                    made = blended(above, &made, 2, blend)?;
                }
                if let Some(left) = row.last() {
                    made = blended(left, &made, 3, blend)?;
                }
                row.push(made);
            }
            let kept = row.iter().map(|tile| cropped(tile, kept));
            rows.push(Tensor::f_cat(&kept.collect::<Result<Vec<_>>>()?, 3)?);
            above = row;
        }
        Ok(Tensor::f_cat(&rows, 2)?)
    }
}

/// At most `side` pixels along both sides.
fn cropped(tile: &Tensor, side: i64) -> Result<Tensor> {
    let (_, _, height, width) = tile.size4()?;
    Ok(tile
        .f_narrow(2, 0, side.min(height))?
        .f_narrow(3, 0, side.min(width))?)
}

/// `tile` with its first `extent` pixels along `dimension` faded in over the last of `before`.
fn blended(before: &Tensor, tile: &Tensor, dimension: i64, extent: i64) -> Result<Tensor> {
    let side = |tensor: &Tensor| -> Result<i64> {
        let (_, _, height, width) = tensor.size4()?;
        Ok(if dimension == 2 { height } else { width })
    };
    let (last, whole) = (side(before)?, side(tile)?);
    let extent = extent.min(last).min(whole);
    let mut shape = [1; 4];
    if let Some(side) = shape.get_mut(dimension as usize) {
        *side = extent;
    }
    let ramp = Tensor::f_arange(extent, (Kind::Float, tile.device()))?
        .f_div_scalar(extent)?
        .f_reshape(shape)?;
    let from = before.f_narrow(dimension, last - extent, extent)?;
    let to = tile.f_narrow(dimension, 0, extent)?;
    let mixed = from.f_lerp_tensor(&to, &ramp)?;
    let rest = tile.f_narrow(dimension, extent, whole - extent)?;
    Ok(Tensor::f_cat(&[mixed, rest], dimension)?)
}
