//! One checkpoint in this process.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use saga_models::checkpoint::Architecture;
use saga_models::clip::Clip;
use saga_models::tch::{Kind, Tensor};
use saga_models::{Checkpoint, Classifier, Model as _, ModelError, Runtime};

use crate::table::{median, table};

/// Prints the time an image takes in batches of each size; the copy to and from the device counts.
pub fn run(dir: &Path, device: &str, precision: &str, batches: &[i64], seconds: f64) -> Result<()> {
    let runtime = Runtime::select(device, precision)?;
    let forward = forward(dir, runtime)?;
    let mut rows = table(&["batch", "ms an image (median)", "images/s"]);
    for &batch in batches {
        let pixels = Tensor::f_rand(
            [batch, 3, 224, 224],
            (Kind::Float, saga_models::tch::Device::Cpu),
        )?;
        let times = repeat(Duration::from_secs_f64(seconds), || {
            forward(&pixels).map(drop)
        })?;
        let image = median(times) / batch as f64;
        rows.add_row([
            batch.to_string(),
            format!("{:.3}", image * 1e3),
            format!("{:.1}", 1.0 / image),
        ]);
    }
    println!("{} on {runtime}\n{rows}", dir.display());
    Ok(())
}

type Forward = Box<dyn Fn(&Tensor) -> Result<Vec<Vec<f32>>>>;

/// The model as its service runs it: pixel values in, rows out on the CPU.
pub fn forward(dir: &Path, runtime: Runtime) -> Result<Forward> {
    let checkpoint = Checkpoint::read(dir)?;
    let rows = |output: Tensor| {
        let output = output
            .f_to_device(saga_models::tch::Device::Cpu)
            .map_err(ModelError::from)?;
        Ok(Vec::<Vec<f32>>::try_from(&output.f_contiguous()?)?)
    };
    Ok(match checkpoint.architecture() {
        Architecture::Clip(_) => {
            let model = Clip::from_checkpoint(checkpoint, runtime)?;
            Box::new(move |pixels| rows(model.image_embeds(pixels)?))
        }
        _ => {
            let model = Classifier::from_checkpoint(checkpoint, runtime)?;
            Box::new(move |pixels| rows(model.forward(pixels)?))
        }
    })
}

/// Seconds of each call, for this long after two to warm up.
fn repeat(duration: Duration, mut step: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    step()?;
    step()?;
    let (started, mut times) = (Instant::now(), Vec::new());
    while started.elapsed() < duration || times.len() < 3 {
        let step_started = Instant::now();
        step()?;
        times.push(step_started.elapsed().as_secs_f64());
    }
    Ok(times)
}
