//! scheduler/scheduler_config.json, as diffusers writes it, and which scheduler runs by it.

use super::schedule::Schedule;
use super::{Scheduler, ddim, dpm_solver, euler_ancestral, pndm};
use crate::diffusion::config;
use crate::directory;
use crate::error::{ModelError, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;
use std::str::FromStr;

/// A scheduler configuration. What is absent is as diffusers has it for the scheduler that runs, so that one scheduler may run by
/// the file of another.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Config {
    #[serde(rename = "_class_name")]
    pub kind: Kind,
    pub num_train_timesteps: usize,
    pub beta_start: f64,
    pub beta_end: f64,
    pub beta_schedule: BetaSchedule,
    pub prediction_type: Prediction,
    pub timestep_spacing: Option<Spacing>,
    pub steps_offset: i64,
    pub set_alpha_to_one: Option<bool>,
    pub skip_prk_steps: bool,
    pub clip_sample: Option<bool>,
    pub clip_sample_range: f64,
}

/// The schedulers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Kind {
    #[serde(rename = "PNDMScheduler")]
    Pndm,
    #[serde(rename = "DDIMScheduler")]
    Ddim,
    #[serde(rename = "EulerAncestralDiscreteScheduler")]
    EulerAncestral,
    #[serde(rename = "DPMSolverMultistepScheduler")]
    DpmSolver,
}

impl Kind {
    const NAMES: [(&str, Self); 4] = [
        ("pndm", Self::Pndm),
        ("ddim", Self::Ddim),
        ("euler-a", Self::EulerAncestral),
        ("dpm++2m", Self::DpmSolver),
    ];
}

impl FromStr for Kind {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, kind)| *kind).ok_or_else(|| {
            let names = Self::NAMES.map(|(name, _)| name).join(", ");
            let why = format!("{name:?} is unknown; use one of {names}");
            ModelError::Config {
                key: "scheduler",
                why,
            }
        })
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut names = Self::NAMES.iter();
        let name = names.find_map(|(name, kind)| (kind == self).then_some(*name));
        f.write_str(name.unwrap_or_default())
    }
}

/// How much noise is added at each time of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    Linear,
    ScaledLinear,
    #[serde(rename = "squaredcos_cap_v2")]
    SquaredCosine,
}

/// What the model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise.
    Epsilon,
    /// The velocity (Salimans and Ho 2022).
    VPrediction,
}

/// How steps are spread over the times of training (Lin et al. 2023, table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    Linspace,
    Leading,
    Trailing,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kind: Kind::Pndm,
            num_train_timesteps: 1000,
            beta_start: 0.0001,
            beta_end: 0.02,
            beta_schedule: BetaSchedule::Linear,
            prediction_type: Prediction::Epsilon,
            timestep_spacing: None,
            steps_offset: 0,
            set_alpha_to_one: None,
            skip_prk_steps: false,
            clip_sample: None,
            clip_sample_range: 1.0,
        }
    }
}

impl Config {
    /// Reads and checks a scheduler_config.json.
    ///
    /// # Errors
    /// A file that is absent or malformed; [`ModelError::Config`] naming the first key that cannot be followed.
    pub fn read(path: &Path) -> Result<Self> {
        let (no, null) = ([json!(false)], [Value::Null]);
        let unset = [json!(false), Value::Null];
        let known = [
            json!("PNDMScheduler"),
            json!("DDIMScheduler"),
            json!("EulerAncestralDiscreteScheduler"),
            json!("DPMSolverMultistepScheduler"),
        ];
        let config: Self = config::read(
            path,
            &[
                ("_class_name", &known),
                ("algorithm_type", &[json!("dpmsolver++")]),
                ("euler_at_final", &no),
                ("final_sigmas_type", &[json!("zero")]),
                ("lambda_min_clipped", &null),
                ("rescale_betas_zero_snr", &no),
                ("solver_order", &[json!(2)]),
                ("solver_type", &[json!("midpoint")]),
                ("thresholding", &no),
                ("trained_betas", &null),
                ("use_beta_sigmas", &unset),
                ("use_exponential_sigmas", &unset),
                ("use_flow_sigmas", &unset),
                ("use_karras_sigmas", &unset),
                ("use_lu_lambdas", &unset),
                ("variance_type", &null),
            ],
        )?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let refuse = |key, why: String| Err(ModelError::Config { key, why });
        if !(1..=100_000).contains(&self.num_train_timesteps) {
            let why = format!("{} must lie in 1 to 100000", self.num_train_timesteps);
            return refuse("num_train_timesteps", why);
        }
        let betas = [self.beta_start, self.beta_end];
        if !betas.iter().all(|beta| *beta > 0.0 && *beta < 1.0) {
            return refuse("beta_start", format!("{betas:?} must lie between 0 and 1"));
        }
        if !(0..=100).contains(&self.steps_offset) {
            let why = format!("{} must lie in 0 to 100", self.steps_offset);
            return refuse("steps_offset", why);
        }
        Ok(())
    }

    /// That of a model trained in the pixels of a data set: DDIM, and steps that begin at its noisiest time.
    pub fn of_pixels(prediction_type: Prediction, beta_schedule: BetaSchedule) -> Self {
        Self {
            kind: Kind::Ddim,
            beta_schedule,
            prediction_type,
            timestep_spacing: Some(Spacing::Trailing),
            clip_sample: Some(true),
            ..Self::default()
        }
    }

    /// Writes it as diffusers' `DDIMScheduler` is written.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_ddim(&self, path: &Path) -> Result<()> {
        let text = json!({
            "_class_name": "DDIMScheduler",
            "num_train_timesteps": self.num_train_timesteps,
            "beta_start": self.beta_start,
            "beta_end": self.beta_end,
            "beta_schedule": self.beta_schedule,
            "prediction_type": self.prediction_type,
            "timestep_spacing": self.timestep_spacing,
            "steps_offset": self.steps_offset,
            "clip_sample": self.clip_sample,
            "clip_sample_range": self.clip_sample_range,
        });
        directory::write_json(path, &text)
    }

    /// A run of `kind` in `steps` steps.
    ///
    /// # Errors
    /// [`ModelError::Input`] for a number of steps that cannot be; [`ModelError::Config`] where this configuration asks `kind` for
    /// what is not there.
    pub fn scheduler(&self, kind: Kind, steps: usize) -> Result<Box<dyn Scheduler>> {
        if !(1..=self.num_train_timesteps).contains(&steps) {
            let most = self.num_train_timesteps;
            return Err(ModelError::Input(format!("{steps} steps; use 1 to {most}")));
        }
        let schedule = Schedule::new(self)?;
        Ok(match kind {
            Kind::Pndm => Box::new(pndm::Pndm::new(self, schedule, steps)?),
            Kind::Ddim => Box::new(ddim::Ddim::new(self, schedule, steps)),
            Kind::EulerAncestral => {
                Box::new(euler_ancestral::EulerAncestral::new(self, schedule, steps))
            }
            Kind::DpmSolver => Box::new(dpm_solver::DpmSolver::new(self, schedule, steps)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedulers_are_known_by_name() {
        for (name, kind) in Kind::NAMES {
            assert_eq!(name.parse::<Kind>().unwrap(), kind);
            assert_eq!(kind.to_string(), name);
        }
        let error = "euler".parse::<Kind>().unwrap_err().to_string();
        assert!(error.contains("pndm, ddim, euler-a, dpm++2m"), "{error}");
    }

    fn read(text: &str) -> std::result::Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("scheduler_config.json");
        std::fs::write(&path, text).unwrap();
        Config::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_followed_is_refused_by_key() {
        assert_eq!(read("{}"), Ok(Config::default()));
        for (text, words) in [
            (
                r#"{"_class_name": "LMSDiscreteScheduler"}"#,
                "_class_name: \"LMSDiscreteScheduler\" is not supported; use \"PNDM",
            ),
            (r#"{"use_karras_sigmas": true}"#, "use_karras_sigmas: true"),
            (r#"{"beta_end": 2}"#, "beta_start"),
            (r#"{"num_train_timesteps": 0}"#, "num_train_timesteps"),
            (r#"{"prediction_type": "sample"}"#, "sample"),
            ("[", "scheduler_config.json"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("scheduler_config.json");
        for schedule in [
            BetaSchedule::Linear,
            BetaSchedule::ScaledLinear,
            BetaSchedule::SquaredCosine,
        ] {
            let config = Config::of_pixels(Prediction::Epsilon, schedule);
            config.write_ddim(&path).unwrap();
            assert_eq!(Config::read(&path).unwrap(), config);
        }
    }

    #[test]
    fn runs_that_cannot_be_are_refused() {
        let config = Config::default();
        let refused = |kind, steps| config.scheduler(kind, steps).err().unwrap().to_string();
        assert!(refused(Kind::Ddim, 0).contains("use 1 to 1000"));
        assert!(refused(Kind::Ddim, 1001).contains("use 1 to 1000"));
        assert!(refused(Kind::Pndm, 10).contains("skip_prk_steps"));
    }
}
