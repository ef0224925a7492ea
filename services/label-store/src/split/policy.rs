//! How a data set is to be divided: shares, limits and the seed.

use serde::{Deserialize, Serialize};

use super::Side;
use crate::error::StoreError;

/// How to divide; see `saga.labelstore.v1.SplitPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Golden images of a class, at most.
    pub golden_per_class: u32,
    /// Golden share of a class, at most; 0 to 0.9.
    pub golden_fraction: f64,
    /// Share of what golden leaves, 0 to 0.5.
    pub val_fraction: f64,
    /// Share of what golden leaves, 0 to 0.5.
    pub calibration_fraction: f64,
    pub seed: u64,
}

impl Policy {
    /// Says which field is out of range.
    pub fn check(&self) -> Result<(), StoreError> {
        for (field, value, highest) in [
            ("policy.golden_fraction", self.golden_fraction, 0.9),
            ("policy.val_fraction", self.val_fraction, 0.5),
            (
                "policy.calibration_fraction",
                self.calibration_fraction,
                0.5,
            ),
        ] {
            if !(0.0..=highest).contains(&value) {
                return Err(StoreError::invalid(
                    field,
                    format!("{value} is not within 0 to {highest}"),
                ));
            }
        }
        Ok(())
    }

    /// Images of each class that a side may have, from the size of each class; train's is what the others leave.
    pub(super) fn quotas(&self, side: Side, totals: &[u32]) -> Vec<i64> {
        totals
            .iter()
            .map(|&total| i64::from(self.quota(side, total)))
            .collect()
    }

    fn quota(&self, side: Side, total: u32) -> u32 {
        let share = |fraction: f64, rest: u32| (fraction * f64::from(rest)).round() as u32;
        // In range: the fractions are checked and `total` is a u32.
        let golden = (self.golden_fraction * f64::from(total) + 1e-9).floor() as u32;
        let golden = golden.min(self.golden_per_class);
        let rest = total - golden;
        let (val, calibration) = (
            share(self.val_fraction, rest),
            share(self.calibration_fraction, rest),
        );
        match side {
            Side::Golden => golden,
            Side::Val => val,
            Side::Calibration => calibration,
            Side::Train => rest.saturating_sub(val + calibration),
        }
    }
}
