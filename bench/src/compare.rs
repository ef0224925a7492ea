//! Rounds of the reference and of ours, alternately.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::Args;

use crate::guard::Guard;
use crate::kernels;
use crate::peer::{Peer, Round};
use crate::table::{median, table};

#[derive(Args)]
pub struct Options {
    /// Python with the reference libraries.
    #[arg(long, default_value = "python3")]
    python: String,
    /// Folder of checkpoints and pictures; made where it is empty.
    #[arg(long)]
    data: PathBuf,
    /// Rounds of each side, after one to warm up.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only comparisons whose name holds this.
    #[arg(long, default_value = "")]
    only: String,
}

/// A comparison: what is compared, the peer's job, the largest difference of answers, and how many times faster ours must be.
struct Comparison {
    name: &'static str,
    job: &'static str,
    single: bool,
    tolerance: f64,
    target: f64,
}

const COMPARISONS: [Comparison; 6] = [
    Comparison {
        name: "guard, beside Python one at a time in f32",
        job: "guard_one_f32",
        single: false,
        tolerance: 0.02,
        target: 5.0,
    },
    Comparison {
        name: "guard, beside Python in batches of 32 in bf16",
        job: "guard_batch_bf16",
        single: false,
        tolerance: 0.02,
        target: 1.7,
    },
    Comparison {
        name: "ViT-B/16 in bf16, beside OpenVINO in bf16",
        job: "vit_openvino",
        single: false,
        tolerance: 0.05,
        target: 1.0,
    },
    Comparison {
        name: "SSIM of 224 x 224, one core, beside scikit-image",
        job: "ssim_skimage",
        single: true,
        tolerance: 0.002,
        target: 20.0,
    },
    Comparison {
        name: "noisy JPEG of 512 x 512 (160 kB) to 224, one core, beside Pillow",
        job: "decode_candidate",
        single: true,
        tolerance: 0.1,
        target: 3.0,
    },
    Comparison {
        name: "JPEG of 512 x 512 as photographs have them (79 kB) to 224, one core, beside Pillow",
        job: "decode_photograph",
        single: true,
        tolerance: 0.1,
        target: 3.0,
    },
];

pub fn run(options: &Options) -> Result<()> {
    Peer::prepare(&options.python, &options.data)?;
    let mut rows = table(&[
        "what",
        "reference ms",
        "ours ms",
        "times faster",
        "target",
        "largest difference",
    ]);
    let wanted = |comparison: &&Comparison| comparison.name.contains(&options.only);
    let mut disagreements = Vec::new();
    for comparison in COMPARISONS.iter().filter(wanted) {
        eprintln!("{} ...", comparison.name);
        let measured = measure(comparison, options)?;
        if measured.difference > comparison.tolerance {
            disagreements.push(comparison.name);
        }
        rows.add_row([
            comparison.name.to_owned(),
            format!("{:.2}", measured.reference),
            format!("{:.2}", measured.ours),
            format!("{:.2}", measured.reference / measured.ours),
            format!("{:.1}", comparison.target),
            format!("{:.1e}", measured.difference),
        ]);
    }
    println!(
        "Medians of {} rounds an item, alternately.\n{rows}",
        options.rounds
    );
    ensure!(
        disagreements.is_empty(),
        "answers differ by more than they may: {}",
        disagreements.join("; ")
    );
    Ok(())
}

/// Median milliseconds an item of both sides, and how far their answers lie apart.
struct Measured {
    reference: f64,
    ours: f64,
    difference: f64,
}

fn measure(comparison: &Comparison, options: &Options) -> Result<Measured> {
    let mut peer = Peer::start(&options.python, &options.data, comparison.single)?;
    let mut reference = || peer.round(comparison.job);
    let rounds = options.rounds;
    let (theirs, ours) = match comparison.job {
        "ssim_skimage" => alternate(
            rounds,
            &mut reference,
            &mut kernels::ssim_rounds(&options.data)?,
        )?,
        "decode_candidate" | "decode_photograph" => {
            let kind = comparison.job.trim_start_matches("decode_");
            let mut ours = kernels::decode_rounds(&options.data, kind)?;
            alternate(rounds, &mut reference, &mut ours)?
        }
        "vit_openvino" => alternate(
            rounds,
            &mut reference,
            &mut kernels::vit_rounds(&options.data)?,
        )?,
        _ => {
            let runtime = tokio::runtime::Runtime::new()?;
            let guard = runtime.block_on(Guard::start(&options.data, "bf16"))?;
            let sides = alternate(rounds, &mut reference, &mut || {
                runtime.block_on(guard.round())
            })?;
            runtime.block_on(guard.stop())?;
            sides
        }
    };
    let middle =
        |rounds: &[Round]| median(rounds.iter().map(Round::seconds_per_item).collect()) * 1e3;
    Ok(Measured {
        reference: middle(&theirs),
        ours: middle(&ours),
        difference: difference(&theirs, &ours)?,
    })
}

/// One unmeasured round of each side, then the measured ones.
pub fn alternate(
    rounds: usize,
    reference: &mut dyn FnMut() -> Result<Round>,
    ours: &mut dyn FnMut() -> Result<Round>,
) -> Result<(Vec<Round>, Vec<Round>)> {
    reference()?;
    ours()?;
    let (mut theirs, mut own) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        theirs.push(reference()?);
        own.push(ours()?);
    }
    Ok((theirs, own))
}

/// The largest difference between the last answers of both sides.
pub fn difference(theirs: &[Round], ours: &[Round]) -> Result<f64> {
    let (Some(theirs), Some(ours)) = (theirs.last(), ours.last()) else {
        bail!("--rounds must be at least 1");
    };
    ensure!(
        theirs.answers.len() == ours.answers.len(),
        "{} answers of the reference, {} of ours",
        theirs.answers.len(),
        ours.answers.len()
    );
    let mut largest = 0.0_f64;
    for (a, b) in theirs.answers.iter().zip(&ours.answers) {
        ensure!(
            a.len() == b.len(),
            "an answer of {} numbers, and ours of {}",
            a.len(),
            b.len()
        );
        largest = a
            .iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .fold(largest, f64::max);
    }
    Ok(largest)
}
