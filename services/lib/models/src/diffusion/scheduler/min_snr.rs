//! Min-SNR weighting of a diffusion model's loss (Hang et al. 2023): times at which images are hardly noisy, and so easily learned,
//! weigh less.

use super::config::{Config, Prediction};
use super::schedule::Schedule;
use crate::error::Result;

impl Config {
    /// The weight of the loss at each time of training, with a limit of the signal-to-noise ratio above 0; as diffusers' training
    /// scripts compute it.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn min_snr_weights(&self, gamma: f64) -> Result<Vec<f32>> {
        let schedule = Schedule::new(self)?;
        let weight = |alpha: &f64| {
            let ratio = alpha / (1.0 - alpha);
            let weight = match self.prediction_type {
                Prediction::Epsilon => (gamma / ratio).min(1.0),
                Prediction::VPrediction => ratio.min(gamma) / (ratio + 1.0),
            };
            weight as f32
        };
        Ok(schedule.alphas_cumprod().iter().map(weight).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::scheduler::BetaSchedule;

    fn near(found: f32, expected: f64, what: &str) {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= 1e-5 * expected, "{what}: {found} {expected}");
    }

    #[test]
    fn weights_are_those_computed_by_hand() {
        // 0.9, 0.81, .. of the variance is left: ratios of 9, 4.263, 2.690, ..
        let config = |prediction_type| Config {
            num_train_timesteps: 3,
            beta_start: 0.1,
            beta_end: 0.1,
            prediction_type,
            ..Config::default()
        };
        let weights = |prediction| config(prediction).min_snr_weights(5.0).unwrap();
        for (found, expected) in weights(Prediction::Epsilon)
            .into_iter()
            .zip([5.0 / 9.0, 1.0, 1.0])
        {
            near(found, expected, "epsilon");
        }
        for (found, expected) in weights(Prediction::VPrediction)
            .into_iter()
            .zip([0.5, 0.81, 0.729])
        {
            near(found, expected, "v");
        }
    }

    #[test]
    fn weights_are_those_of_diffusers() {
        let figures = include_str!("../../../tests/fixtures/noise_schedules.json");
        let figures: serde_json::Value = serde_json::from_str(figures).unwrap();
        let gamma = figures["gamma"].as_f64().unwrap();
        for schedule in [
            BetaSchedule::Linear,
            BetaSchedule::ScaledLinear,
            BetaSchedule::SquaredCosine,
        ] {
            let name = serde_json::to_value(schedule).unwrap();
            let expected = &figures["schedules"][name.as_str().unwrap()];
            for (key, prediction) in [
                ("epsilon", Prediction::Epsilon),
                ("v_prediction", Prediction::VPrediction),
            ] {
                let weights = Config::of_pixels(prediction, schedule)
                    .min_snr_weights(gamma)
                    .unwrap();
                let times = figures["times"].as_array().unwrap();
                for (time, expected) in times.iter().zip(expected[key].as_array().unwrap()) {
                    let found = weights[time.as_u64().unwrap() as usize];
                    near(
                        found,
                        expected.as_f64().unwrap(),
                        &format!("{name} {key} {time}"),
                    );
                }
            }
        }
    }
}
