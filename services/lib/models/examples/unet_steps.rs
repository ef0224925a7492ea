//! Seconds of one step of a UNet of Stable Diffusion 1.5's size, with guidance, beside diffusers: alternately, on the same
//! weights and inputs, whose answers must agree.
//!
//! `cargo run --example unet_steps -- PYTHON DIR PRECISION [SIDE [ROUNDS]]`; PYTHON has diffusers, DIR is where random weights are
//! written once, SIDE is that of the latents. The time is libtorch's: the profile does not matter.

use saga_models::diffusion::unet::UNet2DConditionModel;
use saga_models::tch::{Device, Kind, Tensor};
use saga_models::{ModelError, Runtime};
use std::error::Error;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [python, dir, precision, rest @ ..] = arguments.as_slice() else {
        return Err("PYTHON DIR PRECISION [SIDE [ROUNDS]]".into());
    };
    let side: i64 = rest.first().map_or(Ok(64), |side| side.parse())?;
    let rounds: usize = rest.get(1).map_or(Ok(5), |rounds| rounds.parse())?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/unet_steps.py");
    let mut process = Command::new(python)
        .args([script, dir, precision, &side.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut jobs = process.stdin.take().ok_or("no way to ask the peer")?;
    let mut answers = BufReader::new(process.stdout.take().ok_or("no way to hear the peer")?);
    let mut theirs = || -> Result<Vec<f64>, Box<dyn Error>> {
        writeln!(jobs)?;
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let numbers: Result<Vec<f64>, _> = line.split_whitespace().map(str::parse).collect();
        Ok(numbers?)
    };
    theirs()?;
    let runtime = Runtime::select("auto", precision)?;
    let unet = UNet2DConditionModel::load(&Path::new(dir).join("unet"), runtime, Ok)?;
    let latents = wave(&[2, 4, side, side])?.f_to_device(runtime.device)?;
    let kind = runtime.precision.kind();
    let context = wave(&[2, 77, 768])?
        .f_to_device(runtime.device)?
        .f_to_kind(kind)?;
    let ours = || -> Result<(f64, Tensor), ModelError> {
        let started = Instant::now();
        let output = unet
            .forward(&latents, 321.0, &context)?
            .f_to_device(Device::Cpu)?;
        Ok((started.elapsed().as_secs_f64(), output))
    };
    drop(ours()?);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        let (seconds, output) = ours()?;
        let answer = theirs()?;
        let [their_seconds, figures @ ..] = answer.as_slice() else {
            return Err("the peer failed: run it by hand".into());
        };
        let output: Vec<f32> = Vec::try_from(output.f_reshape([-1])?.f_narrow(0, 0, 64)?)?;
        let far = output
            .iter()
            .zip(figures)
            .map(|(a, b)| (f64::from(*a) - b).abs());
        let (far, size) = (
            far.fold(0.0, f64::max),
            figures.iter().map(|x| x.abs()).fold(0.0, f64::max),
        );
        println!(
            "ours {seconds:.3} s, diffusers {their_seconds:.3} s, figures up to {size:.3} differ by {far:.2e}"
        );
        times[0].push(seconds);
        times[1].push(*their_seconds);
    }
    let [ours, theirs] = times.map(median);
    println!(
        "{runtime}, side {side}: ours {ours:.3} s a step, diffusers {theirs:.3}: {:.2}x",
        ours / theirs
    );
    Ok(process.kill()?)
}

/// Fixed numbers between -1 and 1.
fn wave(shape: &[i64]) -> Result<Tensor, ModelError> {
    let ramp = Tensor::f_arange(shape.iter().product::<i64>(), (Kind::Float, Device::Cpu))?;
    Ok(ramp.f_mul_scalar(0.37)?.f_sin()?.f_reshape(shape)?)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
