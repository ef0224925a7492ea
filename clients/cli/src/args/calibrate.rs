//! Arguments of `saga calibrate`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// Folder of a finished run, as `saga run --out` or `saga demo --out` left it.
    #[arg(long)]
    pub out: PathBuf,
    /// Largest share of bad candidates that the calibrated gates may let through together, above 0 and below 1.
    #[arg(long, default_value_t = 0.1, value_parser = share)]
    pub max_bad_accepts: f64,
    /// Probability that the thresholds keep that, for each class, above 0 and below 1.
    #[arg(long, default_value_t = 0.9, value_parser = share)]
    pub confidence: f64,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value < 1.0 => Ok(value),
        _ => Err("give a number above 0 and below 1".to_owned()),
    }
}
