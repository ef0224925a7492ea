//! How many images a class lacks.

use crate::recipe::PlanPolicy;

/// What one class holds and may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassNeed {
    /// Real train images.
    pub real: u32,
    /// Real and synthetic images, at most.
    pub cap: u32,
}

impl ClassNeed {
    /// Synthetic images to admit.
    pub fn need(&self) -> u32 {
        self.cap.saturating_sub(self.real)
    }
}

/// Each class is filled up to the largest class or to its share of the policy's total, as far as the synthetic share `f`
/// allows: `synthetic / (real + synthetic) <= f`, hence `synthetic <= real * f / (1 - f)`.
pub fn needs(real: &[u32], policy: &PlanPolicy) -> Vec<ClassNeed> {
    let largest = real.iter().copied().max().unwrap_or(0);
    let size = policy.class_size(real.len()).unwrap_or(largest);
    real.iter()
        .map(|&real| {
            let most = most_synthetic(real, policy.max_synthetic_fraction);
            ClassNeed {
                real,
                cap: size.min(real.saturating_add(most)).max(real),
            }
        })
        .collect()
}

/// `floor(real * f / (1 - f))`, forgiving the rounding of the division: 10 images at 0.60 allow 15.
fn most_synthetic(real: u32, fraction: f64) -> u32 {
    (f64::from(real) * fraction / (1.0 - fraction) + 1e-9).floor() as u32
}
