//! Tensors of a file as the parameters of a model that is served, without a copy that is trained.

use super::{difference, is_idle, rest, room};
use crate::checkpoint::Tensors;
use crate::error::{Result, WeightMismatch};
use tch::{Device, Kind, Tensor};

/// Tensors of a file, each handed out once, and what did not fit.
pub(super) struct Taken {
    found: Tensors,
    kind: Kind,
    room: usize,
    mismatch: WeightMismatch,
}

impl Taken {
    pub(super) fn new(found: Tensors, kind: Kind) -> Self {
        Self {
            room: room(&found),
            found,
            kind,
            mismatch: WeightMismatch::default(),
        }
    }

    /// Where the file has no such tensor, one of arbitrary values stands in, so that all that is missing is told at the end.
    pub(super) fn take(&mut self, name: &str, shape: &[i64], device: Device) -> Result<Tensor> {
        let found = self.found.remove(name);
        if let Some(tensor) = &found
            && tensor.size() == shape
            && tensor.is_floating_point()
        {
            return Ok(tensor.f_to_kind(self.kind)?.f_to_device(device)?);
        }
        self.room = rest(self.room, shape)?;
        let stand_in = Tensor::f_empty(shape, (self.kind, device))?;
        match &found {
            Some(found) => {
                let difference = difference(name, &stand_in, found);
                self.mismatch.misshapen.extend(difference);
            }
            None => self.mismatch.missing.push(name.to_owned()),
        }
        Ok(stand_in)
    }

    /// Whether all that was asked for was there, and nothing else.
    pub(super) fn finish(self) -> Result<()> {
        let mut mismatch = self.mismatch;
        let surplus = self.found.into_keys();
        mismatch.surplus = surplus.filter(|name| !is_idle(name)).collect();
        mismatch.missing.sort();
        mismatch.misshapen.sort();
        match mismatch.is_empty() {
            true => Ok(()),
            false => Err(mismatch.into()),
        }
    }
}
