//! A picture with regions hidden under their mean colour, and what the model makes of it.

use tch::{Device, Kind, Tensor};

use crate::{
    error::{ExplainError, Result},
    subject::{Picture, Subject, probabilities},
};

/// Pictures that are computed at a time; between them it is asked whether anybody still waits.
pub(crate) const BATCH: usize = 16;

/// One picture and its regions.
pub struct Masked<'a, S> {
    subject: &'a S,
    /// [1, 3, H, W].
    kept: Tensor,
    /// The same, every pixel the mean of its region.
    hidden: Tensor,
    /// Region of each pixel, [H W].
    regions: Tensor,
    count: usize,
    stop: &'a dyn Fn() -> bool,
}

impl<'a, S: Subject> Masked<'a, S> {
    /// `regions` numbers the region of each pixel, row by row, from 0 without gaps.
    ///
    /// # Errors
    /// Where there are not as many as pixels.
    pub fn new(
        subject: &'a S,
        picture: &Picture,
        regions: &[usize],
        stop: &'a dyn Fn() -> bool,
    ) -> Result<Self> {
        let kept = picture.pixel_values().f_to_device(Device::Cpu)?;
        let count = regions.iter().max().map_or(0, |last| last + 1);
        let indices: Vec<i64> = regions.iter().map(|&region| region as i64).collect();
        let regions = Tensor::f_from_slice(&indices)?;
        let hidden = mean_of_regions(&kept, &regions, count as i64)?;
        Ok(Self {
            subject,
            kept,
            hidden,
            regions,
            count,
            stop,
        })
    }

    /// How many regions there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Probabilities of every class, [masks, C], where the regions are shown that a mask, [count] long, says.
    ///
    /// # Errors
    /// [`ExplainError::Stopped`] where nobody waits any more.
    pub fn probabilities(&self, masks: &[Vec<bool>]) -> Result<Tensor> {
        let mut batches = Vec::with_capacity(masks.len().div_ceil(BATCH));
        for batch in masks.chunks(BATCH) {
            if (self.stop)() {
                return Err(ExplainError::Stopped);
            }
            let shape = [batch.len() as i64, self.count as i64];
            let shown = Tensor::f_from_slice(&batch.concat())?
                .f_reshape(shape)?
                .f_index_select(1, &self.regions)?
                .f_reshape([shape[0], 1, self.kept.size4()?.2, -1])?;
            let pictures = self.kept.f_where_self(&shown, &self.hidden)?;
            batches.push(probabilities(self.subject, &pictures)?);
        }
        Ok(Tensor::f_cat(&batches, 0)?)
    }

    /// The same of one class, in f64.
    pub(crate) fn probability(&self, masks: &[Vec<bool>], class: i64) -> Result<Tensor> {
        let of_class = self.probabilities(masks)?.f_select(1, class)?;
        Ok(of_class.f_to_kind(Kind::Double)?)
    }
}

/// [1, 3, H, W] with every pixel replaced by the mean of its region.
fn mean_of_regions(pixels: &Tensor, regions: &Tensor, count: i64) -> Result<Tensor> {
    let flat = pixels.f_reshape([3, -1])?.f_to_kind(Kind::Double)?;
    let zeros = Tensor::f_zeros([3, count], (Kind::Double, Device::Cpu))?;
    let sums = zeros.f_index_add(1, regions, &flat)?;
    let sizes = zeros.f_index_add(1, regions, &flat.f_ones_like()?)?;
    let means = sums.f_div(&sizes)?.f_index_select(1, regions)?;
    Ok(means.f_to_kind(Kind::Float)?.f_reshape(pixels.size())?)
}

/// Masks as numbers, [masks, regions] in f64.
pub(crate) fn matrix(masks: &[Vec<bool>]) -> Result<Tensor> {
    let rows = masks.len() as i64;
    Ok(Tensor::f_from_slice(&masks.concat())?
        .f_reshape([rows, -1])?
        .f_to_kind(Kind::Double)?)
}
