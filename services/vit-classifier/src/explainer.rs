//! Copies of a served model that can be looked into, in f32 on a thread of its own: it answers one image at a time, and stops where
//! nobody waits for the answer any more.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Instant,
};

use image::RgbImage;
use saga_batching::{BatchConfig, Batcher};
use saga_chassis::{
    WorkMetrics,
    status::{failed_precondition, internal, invalid_argument},
};
use saga_explain::{
    Curves, ExplainError, Heatmap, Method, Picture, Question, Twin, class_of, explain, overlay,
};
use saga_gate::{Call, submit};
use saga_models::{Checkpoint, ModelError, directory, preprocess::Preprocessor, tch::Device};
use tonic::Status;

/// Images that wait; one takes from a fraction of a second to minutes.
const QUEUE: usize = 16;

/// What is asked of one image.
#[derive(Clone)]
pub(crate) struct Asked {
    /// Index; none: the most probable one.
    pub(crate) class: Option<usize>,
    pub(crate) methods: Vec<Method>,
    pub(crate) samples: Option<usize>,
    pub(crate) seed: u64,
    pub(crate) with_overlays: bool,
    pub(crate) with_curves: bool,
}

/// The answer for one image, or the means of several.
pub(crate) struct Explained {
    /// None of means over several classes.
    pub(crate) class: Option<usize>,
    pub(crate) probability: f32,
    /// As the model took it.
    pub(crate) picture: RgbImage,
    /// In the order of the methods asked for.
    pub(crate) maps: Vec<ExplainedMap>,
}

pub(crate) struct ExplainedMap {
    pub(crate) map: Heatmap,
    pub(crate) curves: Option<Curves>,
    /// PNG; empty where not asked for.
    pub(crate) overlay: Vec<u8>,
}

struct Job {
    pixels: Vec<f32>,
    asked: Asked,
    deadline: Option<Instant>,
    /// Gone with the caller.
    caller: Weak<()>,
}

/// A handle to the thread.
pub(crate) struct Explainer {
    batcher: Batcher<Job, Explained, Status>,
    /// Whether attention can be rolled out.
    pub(crate) attends: bool,
}

impl Explainer {
    /// Loads the model of `directory` once more.
    ///
    /// # Errors
    /// FAILED_PRECONDITION with MODEL_CHANGED where its files are not those of `revision` any more.
    pub(crate) async fn start(
        metrics: WorkMetrics,
        directory: PathBuf,
        revision: String,
        device: Device,
    ) -> Result<Self, Status> {
        let (tell, told) = tokio::sync::oneshot::channel();
        let make = move || {
            let (model, preprocessor) = load(&directory, &revision, device)?;
            let _ = tell.send(model.attends());
            let answer = move |job| answer(&model, &preprocessor, job);
            Ok::<_, ExplainError>(move |jobs: Vec<Job>| jobs.into_iter().map(&answer).collect())
        };
        let config = BatchConfig {
            max_batch: 1,
            queue_capacity: QUEUE,
        };
        let changed = |error: String| {
            let message = format!("the model cannot be loaded to explain it: {error}");
            failed_precondition("MODEL_CHANGED", message)
        };
        let batcher = Batcher::spawn(metrics, config, make)
            .await
            .map_err(|error| changed(error.to_string()))?;
        let attends = told.await.map_err(|error| changed(error.to_string()))?;
        Ok(Self { batcher, attends })
    }

    /// Waits for the maps of an image, given as pixel values.
    pub(crate) async fn explain(
        &self,
        pixels: Vec<f32>,
        asked: Asked,
        call: Call,
    ) -> Result<Explained, Status> {
        let waiting = Arc::new(());
        let job = Job {
            pixels,
            asked,
            deadline: call.deadline,
            caller: Arc::downgrade(&waiting),
        };
        Ok(submit(&self.batcher, job, call).await?.output)
    }
}

fn load(path: &Path, revision: &str, device: Device) -> Result<(Twin, Preprocessor), ExplainError> {
    let found = directory::revision(path)?;
    if found != revision {
        let why = format!(
            "{} now holds revision {found}, {revision} is served; load it anew",
            path.display()
        );
        return Err(ModelError::Input(why).into());
    }
    let checkpoint = Checkpoint::read(path)?;
    let preprocessor = checkpoint.preprocessor()?;
    Ok((Twin::new(checkpoint, device)?, preprocessor))
}

fn answer(model: &Twin, preprocessor: &Preprocessor, job: Job) -> Result<Explained, Status> {
    let waits = || {
        let late = job
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline);
        job.caller.strong_count() > 0 && !late
    };
    maps(model, preprocessor, &job, &|| !waits()).map_err(|error| match error {
        ExplainError::TooFewSamples { .. } => invalid_argument("samples", error.to_string()),
        ExplainError::NoAttention => invalid_argument("methods", error.to_string()),
        ExplainError::Class { .. } => invalid_argument("label", error.to_string()),
        ExplainError::TooManyPixels { .. } => invalid_argument("model", error.to_string()),
        ExplainError::Stopped => Status::deadline_exceeded(error.to_string()),
        other => internal("EXPLANATION_FAILED", other.to_string()),
    })
}

fn maps(
    model: &Twin,
    preprocessor: &Preprocessor,
    job: &Job,
    stop: &dyn Fn() -> bool,
) -> Result<Explained, ExplainError> {
    let pixel_values = preprocessor.batch(std::slice::from_ref(&job.pixels))?;
    let picture = Picture::new(pixel_values, preprocessor.denormalise(&job.pixels))?;
    let (class, probability) = class_of(model, &picture, job.asked.class)?;
    let question = Question {
        picture: &picture,
        class,
        samples: job.asked.samples,
        seed: job.asked.seed,
        stop,
    };
    let maps = job.asked.methods.iter().map(|&method| {
        let map = explain(model, method, &question)?;
        let curves = job.asked.with_curves;
        let curves = curves.then(|| Curves::of(model, &question, &map));
        let painted = match job.asked.with_overlays {
            true => overlay(picture.pixels(), &map)?,
            false => Vec::new(),
        };
        Ok::<_, ExplainError>(ExplainedMap {
            curves: curves.transpose()?,
            overlay: painted,
            map,
        })
    });
    Ok(Explained {
        class: Some(class),
        probability,
        maps: maps.collect::<Result<_, _>>()?,
        picture: picture.pixels().clone(),
    })
}
