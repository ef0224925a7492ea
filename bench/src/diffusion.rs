//! The parts of a Stable Diffusion 1.5 of full size with random weights, beside diffusers: the same weights and inputs, whose
//! answers must agree.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use saga_models::diffusion::text_encoder::TextEncoder;
use saga_models::diffusion::unet::UNet2DConditionModel;
use saga_models::diffusion::vae::AutoencoderKL;
use saga_models::tch::{Device, Kind, Tensor};
use saga_models::{ModelError, Runtime};

use crate::compare::{alternate, difference};
use crate::peer::{Peer, Round};
use crate::table::{median, table};

/// What is measured.
#[derive(clap::Args)]
pub struct Options {
    /// Python with the packages of bench/requirements.txt.
    #[arg(long, default_value = "python3")]
    python: String,
    /// Folder of the weights, 2.1 GB; written where there are none.
    #[arg(long)]
    data: PathBuf,
    #[arg(long, default_value = "auto")]
    device: String,
    #[arg(long, default_value = "auto")]
    precision: String,
    /// Side of the latents; that of an image is eight times as long.
    #[arg(long, default_value_t = 64)]
    side: i64,
    /// Rounds of each side, after one to warm up.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only parts whose name holds this.
    #[arg(long, default_value = "")]
    only: String,
}

/// As in peer.py.
const PROMPT: &str = "a photo of a happy face";

/// A part, and how often an image of so many steps needs it.
const PARTS: [(&str, usize); 4] = [
    ("text_encoder", 1),
    ("unet", STEPS),
    ("vae_encoder", 0),
    ("vae_decoder", 1),
];
const STEPS: usize = 20;

pub fn run(options: &Options) -> Result<()> {
    let runtime = Runtime::select(&options.device, &options.precision)?;
    let side = options.side;
    let mut peer = Peer::start(&options.python, &options.data, false)?;
    peer.round("stable_diffusion_weights")?;
    let mut rows = table(&[
        "part",
        "diffusers s",
        "ours s",
        "ours / diffusers",
        "largest difference",
    ]);
    let mut whole = [0.0; 2];
    for (part, times) in PARTS
        .iter()
        .filter(|(part, _)| part.contains(&options.only))
    {
        eprintln!("{part} ...");
        let forward = forward(part, &options.data.join("stable-diffusion"), runtime, side)?;
        let precision = runtime.precision;
        let job = format!("stable_diffusion {part} {precision} {side}");
        let (theirs, ours) = alternate(options.rounds, &mut || peer.round(&job), &mut || {
            let started = Instant::now();
            let output = forward()?
                .f_to_kind(Kind::Float)?
                .f_to_device(Device::Cpu)?;
            let seconds = started.elapsed().as_secs_f64();
            let figures: Vec<f32> = Vec::try_from(output.f_reshape([-1])?.f_narrow(0, 0, 64)?)?;
            Ok(Round {
                seconds,
                items: 1,
                answers: vec![figures.into_iter().map(f64::from).collect()],
            })
        })?;
        let difference = difference(&theirs, &ours)?;
        let [theirs, ours] = [theirs, ours]
            .map(|rounds| median(rounds.iter().map(Round::seconds_per_item).collect()));
        for (whole, seconds) in whole.iter_mut().zip([theirs, ours]) {
            *whole += seconds * *times as f64;
        }
        rows.add_row([
            (*part).to_owned(),
            format!("{theirs:.3}"),
            format!("{ours:.3}"),
            format!("{:.2}", ours / theirs),
            format!("{difference:.1e}"),
        ]);
    }
    let pixels = 8 * side;
    println!(
        "{runtime}, {pixels} x {pixels} pixels, one image with guidance; medians of {} rounds, alternately.\n{rows}",
        options.rounds
    );
    if options.only.is_empty() {
        let [theirs, ours] = whole;
        println!(
            "An image of {STEPS} steps, added up: diffusers {theirs:.1} s, ours {ours:.1}: {:.2}",
            ours / theirs
        );
    }
    Ok(())
}

type Forward = Box<dyn Fn() -> Result<Tensor, ModelError>>;

/// The part with the inputs that peer.py gives it: prompt and empty prompt together, as guidance has them.
fn forward(part: &str, dir: &Path, runtime: Runtime, side: i64) -> Result<Forward> {
    let wave = |shape: &[i64]| wave(shape, runtime.device);
    Ok(match part {
        "text_encoder" => {
            let model = TextEncoder::load(dir, runtime, Ok)?;
            Box::new(move || model.forward(&[PROMPT, ""]))
        }
        "unet" => {
            let model = UNet2DConditionModel::load(&dir.join(part), runtime, Ok)?;
            let latents = wave(&[2, 4, side, side])?;
            let context = wave(&[2, 77, 768])?.f_to_kind(runtime.precision.kind())?;
            Box::new(move || model.forward(&latents, 321.0, &context))
        }
        _ => {
            let model = AutoencoderKL::load(&dir.join("vae"), runtime)?;
            if part == "vae_encoder" {
                let image = wave(&[1, 3, 8 * side, 8 * side])?;
                Box::new(move || Ok(model.encode(&image)?.mean))
            } else {
                let latents = wave(&[1, 4, side, side])?;
                Box::new(move || model.decode(&latents))
            }
        }
    })
}

/// Fixed numbers between -1 and 1.
fn wave(shape: &[i64], device: Device) -> Result<Tensor, ModelError> {
    let ramp = Tensor::f_arange(shape.iter().product::<i64>(), (Kind::Float, Device::Cpu))?;
    let wave = ramp.f_mul_scalar(0.37)?.f_sin()?.f_reshape(shape)?;
    Ok(wave.f_to_device(device)?)
}
