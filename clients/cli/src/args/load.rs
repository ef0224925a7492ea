//! The command line of `saga load`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

/// Below the help.
pub const EXIT_CODES: &str = "Exit codes: 0 the figures can be believed; 1 something failed, or answers under load differ \
    from those of the same items asked alone; 2 the command line; 3 void: the generator could not keep its own schedule.";

/// A gate that this program can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GateName {
    /// Quality: sharpness of the candidate.
    Quality,
    /// Structure: SSIM of candidate and source.
    Ssim,
    /// Semantics: cosine of candidate and prompt.
    Clip,
    /// Confidence: probability of the target label.
    Vit,
}

#[derive(Debug, Args)]
pub struct LoadArgs {
    /// The gate; without --address it is started inside this process.
    #[arg(value_enum, required_unless_present = "address")]
    pub gate: Option<GateName>,
    /// Address of a gate that runs already: any that speaks saga.gate.v1.GateService.
    #[arg(long, value_name = "URL")]
    pub address: Option<String>,
    /// Model directory for the gates clip and vit where this process starts them [default: `clip` or `baseline` below
    /// out/demo/models].
    #[arg(long, value_name = "DIR", conflicts_with = "address")]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub shape: Shape,
    #[command(flatten)]
    pub measuring: Measuring,
    #[command(flatten)]
    pub items: Items,
    /// Folder for load.json, load.html and load.hlog (HdrHistogram's interval log).
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// How requests are made.
#[derive(Debug, Args)]
#[command(next_help_heading = "Load (without --rate and --sweep: the closed loop)")]
pub struct Shape {
    /// Open loop: requests per second on average, sent at random (Poisson) times whatever becomes of earlier ones.
    #[arg(long, value_name = "R", value_parser = above_zero, conflicts_with_all = ["sweep", "closed"])]
    pub rate: Option<f64>,
    /// The closed loop for the peak, then open loops at 10 to 150 % of it, and the knee among them.
    #[arg(long, conflicts_with = "closed")]
    pub sweep: bool,
    /// Closed loop: callers that each wait for their answer before the next request.
    #[arg(long)]
    pub closed: bool,
    /// Callers of the closed loop.
    #[arg(long, value_name = "C", default_value = "32", value_parser = count, conflicts_with = "rate")]
    pub concurrency: usize,
    /// Connections that the requests share.
    #[arg(long, value_name = "N", default_value = "4", value_parser = count)]
    pub connections: usize,
}

/// What is measured, and for how long.
#[derive(Debug, Args)]
#[command(next_help_heading = "Measuring")]
pub struct Measuring {
    /// How long each step is measured: 10s, 500ms, 2m.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// How long each step runs before it is measured.
    #[arg(long, default_value = "2s", value_parser = duration_or_none)]
    pub warm_up: Duration,
    /// Milliseconds from the intended send time: the open loop's gRPC deadline, and the limit of goodput.
    #[arg(long, value_name = "MS", default_value = "1000", value_parser = milliseconds)]
    pub deadline: Duration,
    /// Milliseconds that the generator's own 99th percentile may be late, or 10 % of the median latency where that is
    /// more; beyond, the run is void.
    #[arg(long, value_name = "MS", default_value = "5", value_parser = milliseconds)]
    pub max_lateness: Duration,
    /// Largest difference between an item's scores alone and under load. Batches in bf16 round differently; ssim keeps 0.
    #[arg(long, default_value = "0.001", value_parser = not_negative)]
    pub tolerance: f64,
    /// Seed of the arrivals and of rendered images.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// What is sent.
#[derive(Debug, Args)]
#[command(next_help_heading = "Items")]
pub struct Items {
    /// Folder of images (jpeg, png, webp, also below it), each paired with the next one; without it faces are rendered,
    /// each paired with another one of the same person.
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Distinct pairs at most.
    #[arg(long, value_name = "N", default_value = "64", value_parser = count)]
    pub items: usize,
    /// Side of rendered images in pixels, 64 to 512.
    #[arg(long, value_name = "PIXELS", default_value_t = 128)]
    pub size: u32,
    /// Target label of every item [default: the image's own class where the gate knows it, else the gate's labels in
    /// turn].
    #[arg(long, value_name = "LABEL")]
    pub target: Option<String>,
    /// Prompt of every item; {target} stands for its label [default: a photo of a {target} face].
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
}

fn number(text: &str) -> Result<f64, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| format!("`{text}` is not a number"))?;
    if number.is_finite() {
        Ok(number)
    } else {
        Err(format!("`{text}` is not a finite number"))
    }
}

fn above_zero(text: &str) -> Result<f64, String> {
    number(text).and_then(|number| match number > 0.0 {
        true => Ok(number),
        false => Err(format!("{number} is not above 0")),
    })
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(text).and_then(|number| match number >= 0.0 {
        true => Ok(number),
        false => Err(format!("{number} is below 0")),
    })
}

/// 1 to 10,000.
fn count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| (1..=10_000).contains(count))
        .ok_or_else(|| format!("`{text}` is not a number from 1 to 10000"))
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    within_a_day(above_zero(text)? / 1e3)
}

/// `10s`, `500ms`, `2m`, or plain seconds.
fn duration_or_none(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("", 1.0)];
    let unit = units
        .iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let (figure, seconds) = unit.unwrap_or((text, &1.0));
    let figure = not_negative(figure).map_err(|why| format!("{why}; write 10s, 500ms or 2m"))?;
    within_a_day(figure * seconds)
}

fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_none(text)? {
        Duration::ZERO => Err("it must be above 0".to_owned()),
        duration => Ok(duration),
    }
}

fn within_a_day(seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| *duration <= Duration::from_secs(86_400))
        .ok_or_else(|| format!("{seconds} s are more than a day"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_or_are_seconds() {
        for (text, milliseconds) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1.5", 1500),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)));
        }
        assert_eq!(duration_or_none("0s"), Ok(Duration::ZERO));
        for text in ["0", "-1s", "soon", "s", "9e9", "inf"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_above_zero_and_finite() {
        assert_eq!(above_zero("0.5"), Ok(0.5));
        for text in ["0", "-3", "NaN", "inf", "many"] {
            assert!(above_zero(text).is_err(), "{text}");
        }
        assert_eq!(not_negative("0"), Ok(0.0));
        assert!(count("0").is_err() && count("64") == Ok(64));
        assert_eq!(milliseconds("2.5"), Ok(Duration::from_micros(2500)));
    }
}
