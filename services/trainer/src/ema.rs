//! Exponential moving average of weights: the average of the last steps generalises better than the last step.

use tch::Tensor;

use crate::{error::TrainError, master::copy_of};

/// The average of the flat weights.
#[derive(Debug)]
pub struct MovingAverage {
    average: Tensor,
    decay: f64,
    updates: u32,
}

impl MovingAverage {
    /// Starts at `weights`; decay in (0, 1).
    pub fn new(weights: &Tensor, decay: f64) -> Result<Self, TrainError> {
        Ok(Self {
            average: copy_of(weights)?,
            decay,
            updates: 0,
        })
    }

    /// Takes one step in. The decay warms up as min(decay, (1 + n) / (10 + n)), so that the random start is soon forgotten.
    pub fn update(&mut self, weights: &Tensor) -> Result<(), TrainError> {
        let updates = f64::from(self.updates);
        let decay = self.decay.min((1.0 + updates) / (10.0 + updates));
        self.updates += 1;
        tch::no_grad(|| Ok(self.average.f_lerp_(weights, 1.0 - decay).map(drop)?))
    }

    /// The average as it was after `updates` updates.
    pub fn restore(&mut self, updates: u32, average: &Tensor) -> Result<(), TrainError> {
        self.updates = updates;
        tch::no_grad(|| Ok(self.average.f_copy_(average)?))
    }

    /// The average, `[P]`.
    pub fn weights(&self) -> &Tensor {
        &self.average
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_recurrence() {
        let mut average = MovingAverage::new(&Tensor::from_slice(&[0.0f32]), 0.5).unwrap();
        let mut expected = 0.0;
        for (update, weight) in [
            1.0, 2.0, -3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0,
        ]
        .into_iter()
        .enumerate()
        {
            let decay = 0.5f64.min((1.0 + update as f64) / (10.0 + update as f64));
            expected = decay * expected + (1.0 - decay) * weight;
            average
                .update(&Tensor::from_slice(&[weight as f32]))
                .unwrap();
            assert!((average.weights().double_value(&[0]) - expected).abs() < 1e-5);
        }
    }

    #[test]
    fn does_not_touch_the_weights() {
        let weights = Tensor::from_slice(&[1.0f32]);
        let mut average = MovingAverage::new(&weights, 0.9).unwrap();
        average.update(&Tensor::from_slice(&[5.0f32])).unwrap();
        assert_eq!(weights.double_value(&[0]), 1.0);
    }
}
