//! One job from request to model directory: reuse, data, training on a thread of its own, and writing.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use saga_models::{Environment, ModelError, Precision, Runtime, preprocess};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::{
    checkpoint::Checkpoints,
    classifier::Classifier,
    config::Config,
    contrastive::Contrastive,
    data::{Dataset, Source, Store},
    diffusion::Diffusion,
    error::TrainError,
    fit::{self, Epoch, Learner, Observer, Plan, Resume},
    loader,
    master::MasterWeights,
    output::{self, Identity, Outcome, Record},
    pixels, preprocessing,
    request::{Job, Kind},
};

/// What a job tells while it goes on.
#[derive(Debug)]
pub enum Event {
    Started {
        train_images: u32,
        val_images: u32,
        plan: Plan,
        parameters: u64,
        precision: String,
        /// 0 of a training that starts at its start.
        resumed_at_step: u32,
    },
    Epoch(Epoch),
    Finished {
        directory: PathBuf,
        record: Box<Record>,
        seconds: f64,
        reused: bool,
    },
}

/// Who listens to a job; the job is cancelled when the receiver is dropped.
pub type Events = mpsc::Sender<Result<Event, TrainError>>;

/// Runs jobs.
pub struct Trainer {
    config: Config,
    runtime: Runtime,
    models: PathBuf,
    slots: Arc<Semaphore>,
    /// Outputs that jobs are working on.
    busy: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Trainer {
    /// Chooses the device, and creates the models folder.
    pub fn new(config: Config) -> Result<Self, TrainError> {
        let runtime = Runtime::select(&config.compute.device, &config.compute.precision)?;
        if matches!(runtime.precision, Precision::F16 | Precision::Int8) {
            return Err(TrainError::Model(ModelError::Precision {
                precision: runtime.precision.to_string(),
                why: "is to serve in, too coarse to train in; use auto, f32 or bf16".into(),
            }));
        }
        let folder = &config.models.directory;
        let models = std::fs::create_dir_all(folder).and_then(|()| folder.canonicalize());
        Ok(Self {
            models: models.map_err(|source| TrainError::Io {
                path: folder.clone(),
                source,
            })?,
            slots: Arc::new(Semaphore::new(config.compute.jobs)),
            busy: Arc::default(),
            runtime,
            config,
        })
    }

    /// Runs one job; its end, good or bad, is the last event.
    pub async fn run(&self, job: Job, events: Events) {
        let ended = tokio::select! {
            ended = self.try_run(job, &events) => ended,
            () = events.closed() => return,
        };
        let last = ended.map(|(directory, record, seconds, reused)| Event::Finished {
            directory,
            record,
            seconds,
            reused,
        });
        // Nobody may be listening any more.
        let _ = events.send(last).await;
    }

    async fn try_run(
        &self,
        job: Job,
        events: &Events,
    ) -> Result<(PathBuf, Box<Record>, f64, bool), TrainError> {
        let started = Instant::now();
        let output = self.models.join(&job.output);
        let reserved = Reserved::new(&self.busy, &output, &job.output)?;
        let mut store = Store::new(
            &self.config.label_store.address,
            self.config.server.max_message_bytes,
        )?;
        let source = Source {
            dataset_id: job.dataset_id.clone(),
            synthetic_run_id: job.synthetic_run_id.clone(),
            extra: job.extra.clone(),
        };
        let (classes, dataset_hash) = store.describe(&source).await?;
        let preprocessing = preprocessing::of(&job)?;
        let precision = self.runtime.precision.to_string();
        let identity = Identity::new(&job, &preprocessing, dataset_hash, &precision)?;
        if let Some(record) = output::finished(&output, &identity) {
            return Ok((
                output::place(&self.models, &output, &record, job.keep)?,
                Box::new(record),
                started.elapsed().as_secs_f64(),
                true,
            ));
        }
        let slots = self.slots.clone();
        let slot = slots
            .acquire_owned()
            .await
            .map_err(|_| TrainError::Cancelled)?;
        let limit = self.config.limits.max_cache_bytes;
        let side = job.architecture.image_size;
        let prepare = pixels::prepare(preprocessing.clone())?;
        let (dataset, read_hash) = store.read(&source, classes, side, limit, &prepare).await?;
        if read_hash != identity.dataset_hash {
            return Err(TrainError::DatasetChanged {
                dataset: source.dataset_id,
            });
        }
        let every = Duration::from_secs_f64(self.config.checkpoints.every_seconds);
        let work = Work {
            checkpoints: Checkpoints::new(&output, &identity.request_hash, every),
            job,
            identity,
            dataset,
            preprocessing,
            output,
            models: self.models.clone(),
            runtime: self.runtime,
            events: events.clone(),
            _held: (reserved, slot),
        };
        let (directory, record) = on_own_thread(work, self.config.compute.threads).await?;
        Ok((directory, record, started.elapsed().as_secs_f64(), false))
    }
}

/// An output that this job alone writes.
struct Reserved {
    busy: Arc<Mutex<HashSet<PathBuf>>>,
    output: PathBuf,
}

impl Reserved {
    fn new(
        busy: &Arc<Mutex<HashSet<PathBuf>>>,
        output: &Path,
        name: &Path,
    ) -> Result<Self, TrainError> {
        let mut outputs = busy.lock().unwrap_or_else(PoisonError::into_inner);
        if !outputs.insert(output.to_path_buf()) {
            return Err(TrainError::Busy {
                output: name.display().to_string(),
            });
        }
        Ok(Self {
            busy: busy.clone(),
            output: output.to_path_buf(),
        })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.busy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.output);
    }
}

/// Everything the training thread needs.
struct Work {
    job: Job,
    identity: Identity,
    dataset: Dataset,
    preprocessing: preprocess::Config,
    output: PathBuf,
    models: PathBuf,
    checkpoints: Checkpoints,
    runtime: Runtime,
    events: Events,
    /// Given back when the thread ends, which may be after its caller has left.
    _held: (Reserved, OwnedSemaphorePermit),
}

/// Trains on a thread of the operating system, so that no tensor crosses an await and no async thread is blocked.
async fn on_own_thread(work: Work, threads: usize) -> Result<(PathBuf, Box<Record>), TrainError> {
    let (answer, answered) = oneshot::channel();
    let span = tracing::Span::current();
    let thread = std::thread::Builder::new()
        .name("training".into())
        .spawn(move || {
            let _entered = span.entered();
            saga_models::runtime::set_threads(threads);
            let _ = answer.send(work.train());
        });
    thread.map_err(|error| TrainError::Thread(error.to_string()))?;
    answered
        .await
        .map_err(|_| TrainError::Thread("it panicked; see the log".into()))?
}

impl Work {
    fn train(self) -> Result<(PathBuf, Box<Record>), TrainError> {
        let mut model = self.model()?;
        let weights = MasterWeights::new(model.weights().tensors())?;
        let fitted = self.fit(model.as_mut(), weights);
        let record = self.save(fitted, model.as_ref())?;
        let directory = output::place(&self.models, &self.output, &record, self.job.keep)?;
        Ok((directory, Box::new(record)))
    }

    fn model(&self) -> Result<Box<dyn Learner>, TrainError> {
        let (job, dataset, runtime) = (&self.job, &self.dataset, self.runtime);
        let preprocessing = self.preprocessing.clone();
        Ok(match job.kind {
            Kind::VitClassifier | Kind::ResnetClassifier => {
                Box::new(Classifier::new(job, dataset, preprocessing, runtime)?)
            }
            Kind::Clip => Box::new(Contrastive::new(job, dataset, preprocessing, runtime)?),
            Kind::Diffusion => Box::new(Diffusion::new(job, dataset, runtime)?),
        })
    }

    fn fit(&self, learner: &mut dyn Learner, weights: MasterWeights) -> Fitted {
        let begun = Instant::now();
        let listener = Listener {
            events: &self.events,
            epochs: Mutex::default(),
        };
        let (job, dataset) = (&self.job, &self.dataset);
        let state = self.checkpoints.load();
        let (step, seconds_before) = state.as_ref().map_or((0, 0.0), |state| {
            (state.progress.step, state.progress.seconds)
        });
        let _ = self.events.blocking_send(Ok(Event::Started {
            train_images: dataset.train.labels.len() as u32,
            val_images: dataset.val.labels.len() as u32,
            plan: Plan::new(&job.settings, dataset.train.labels.len()),
            parameters: weights.flat().numel() as u64,
            precision: self.runtime.precision.to_string(),
            resumed_at_step: step,
        }));
        let source = loader::Source {
            dataset,
            settings: &job.settings,
            seed: job.seed,
        };
        let resume = Resume {
            checkpoints: self.checkpoints.clone(),
            state,
        };
        let ended = fit::fit(learner, weights, source, Some(resume), &listener);
        let epochs = listener
            .epochs
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        Fitted {
            ended,
            epochs,
            seconds: seconds_before + begun.elapsed().as_secs_f64(),
        }
    }

    /// Writes the model; of a training that was stopped, the best weights until then, beside the output. The checkpoint stays
    /// where the same request can still end well: after a cancellation, or where there was no room for the model.
    fn save(&self, fitted: Fitted, model: &dyn Learner) -> Result<Record, TrainError> {
        let outcome = |best, stopped| Outcome {
            identity: &self.identity,
            labels: &self.dataset.classes,
            best,
            epochs: fitted.epochs,
            environment: Environment::of(self.runtime),
            seconds: fitted.seconds,
            stopped,
        };
        let last_good = output::last_good(&self.output);
        let stopped = match fitted.ended {
            Ok(best) => {
                let record = output::write(&self.output, outcome(best, None), model)?;
                self.checkpoints.remove();
                output::remove_stopped(&last_good, &self.identity);
                return Ok(record);
            }
            Err(stopped) => stopped,
        };
        if matches!(stopped.error, TrainError::Diverged { .. }) {
            self.checkpoints.remove();
        }
        let why = match &stopped.error {
            TrainError::Diverged { step, .. } => format!("diverged at step {step}"),
            TrainError::Cancelled => "cancelled".to_owned(),
            _ => return Err(stopped.error),
        };
        let Some(best) = stopped.best else {
            return Err(stopped.error);
        };
        output::write(&last_good, outcome(best, Some(why)), model)?;
        Err(match stopped.error {
            TrainError::Diverged { step, .. } => TrainError::Diverged {
                step,
                kept: Some(last_good),
            },
            error => error,
        })
    }
}

/// A training that has ended.
struct Fitted {
    ended: Result<fit::Best, fit::Stopped>,
    epochs: Vec<Epoch>,
    seconds: f64,
}

/// Hands epochs to the stream, and keeps them for the record.
struct Listener<'a> {
    events: &'a Events,
    epochs: Mutex<Vec<Epoch>>,
}

impl Observer for Listener<'_> {
    fn epoch(&self, epoch: &Epoch) {
        tracing::info!(
            epoch = epoch.epoch,
            train_loss = epoch.train_loss,
            val_loss = epoch.scores.loss,
            val_accuracy = epoch.scores.confusion.accuracy(),
            val_macro_f1 = epoch.scores.confusion.macro_f1(),
            "epoch"
        );
        self.epochs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(epoch.clone());
        let _ = self.events.blocking_send(Ok(Event::Epoch(epoch.clone())));
    }

    fn cancelled(&self) -> bool {
        self.events.is_closed()
    }
}
