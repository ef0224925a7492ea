//! A data set in memory, and what each of its images counts.

use saga_models::diffusion::neighbours::ImageName;

/// One split in memory.
#[derive(Debug, Default)]
pub struct Split {
    /// `[N, 3, side, side]` bytes.
    pub pixels: Vec<u8>,
    /// Class index of each image.
    pub labels: Vec<u32>,
    /// Whether each image is synthetic.
    pub synthetic: Vec<bool>,
    /// What each image is called.
    pub names: Vec<ImageName>,
}

impl Split {
    /// What an image counts beside a real one, where synthetic ones count `synthetic`.
    pub fn weight(&self, index: usize, synthetic: f64) -> f64 {
        match self.synthetic.get(index) {
            Some(true) => synthetic,
            _ => 1.0,
        }
    }

    /// What the images of each class count together; their number, where synthetic ones count 1.
    pub fn class_totals(&self, classes: usize, synthetic: f64) -> Vec<f64> {
        let mut totals = vec![0.0; classes];
        for (index, &label) in self.labels.iter().enumerate() {
            if let Some(total) = totals.get_mut(label as usize) {
                *total += self.weight(index, synthetic);
            }
        }
        totals
    }
}

/// What a job trains on.
#[derive(Debug)]
pub struct Dataset {
    /// In label order.
    pub classes: Vec<String>,
    /// Side of the images in pixels.
    pub side: u32,
    pub train: Split,
    pub val: Split,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synthetic_images_count_their_weight_and_the_others_one() {
        let split = Split {
            labels: vec![0, 1, 1, 0, 1],
            synthetic: vec![false, true, false, false, true],
            ..Default::default()
        };
        assert_eq!(split.class_totals(3, 1.0), [2.0, 3.0, 0.0]);
        assert_eq!(split.class_totals(3, 0.25), [2.0, 1.5, 0.0]);
        assert_eq!((split.weight(1, 0.25), split.weight(0, 0.25)), (0.25, 1.0));
    }
}
