//! A number for each pixel.

use tch::{Device, Kind, Tensor};

use crate::error::Result;

/// How much each pixel speaks for a class.
#[derive(Debug, Clone, PartialEq)]
pub struct Heatmap {
    pub height: usize,
    pub width: usize,
    /// Row by row, `height * width` of them.
    pub values: Vec<f32>,
}

impl Heatmap {
    /// Of a tensor [H, W].
    pub(crate) fn of(map: &Tensor) -> Result<Self> {
        let (height, width) = map.size2()?;
        let flat = map
            .f_to_device(Device::Cpu)?
            .f_to_kind(Kind::Float)?
            .f_reshape([-1])?;
        Ok(Self {
            height: height as usize,
            width: width as usize,
            values: Vec::try_from(&flat)?,
        })
    }

    /// A coarse map [h, w] brought to `size` = [H, W] as pytorch-grad-cam does: no negative values, stretched to 0..1,
    /// bilinear, stretched again.
    pub(crate) fn scaled(coarse: &Tensor, size: [i64; 2]) -> Result<Self> {
        let fine = stretched(&coarse.f_relu()?)?
            .f_unsqueeze(0)?
            .f_unsqueeze(0)?
            .f_upsample_bilinear2d(size, false, None, None)?;
        Self::of(&stretched(&fine.f_reshape(size)?)?)
    }

    /// Pixels in the order of their values, the largest first; equal ones row by row.
    pub(crate) fn order(&self) -> Vec<usize> {
        let mut ranked: Vec<_> = self.values.iter().copied().enumerate().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked.into_iter().map(|(index, _)| index).collect()
    }

    /// Adds `other`, of the same size, for a mean.
    pub fn add(&mut self, other: &Self) {
        for (sum, value) in self.values.iter_mut().zip(&other.values) {
            *sum += value;
        }
    }

    /// Divides by a number of maps.
    pub fn divide(&mut self, count: u32) {
        for value in &mut self.values {
            *value /= count as f32;
        }
    }
}

fn stretched(map: &Tensor) -> Result<Tensor> {
    let map = map.f_sub(&map.f_min()?)?;
    let most = map.f_max()?.f_add_scalar(1e-7)?;
    Ok(map.f_div(&most)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_pixels_come_first() {
        let map = Heatmap {
            height: 1,
            width: 4,
            values: vec![0.5, -1.0, 2.0, 0.5],
        };
        assert_eq!(map.order(), [2, 0, 3, 1]);
    }

    #[test]
    fn a_map_without_anything_to_see_stays_zero() {
        let nothing = Tensor::zeros([2, 2], (Kind::Float, Device::Cpu)) - 3.0;
        let map = Heatmap::scaled(&nothing, [4, 6]).unwrap();
        assert_eq!((map.height, map.width), (4, 6));
        assert_eq!(map.values, [0.0; 24]);
    }
}
