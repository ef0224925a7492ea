//! Runs by id: starting and resuming, watching, cancelling, and results. What matters is read from the label store.

mod after;

use std::sync::Arc;

use saga_proto::{
    generator::v1::Backend,
    labelstore::v1::{
        ClassCounts, CreateRunRequest, GetDatasetRequest, GetRunRequest, GetRunResponse, Run, Stage,
    },
    orchestrator::v1::{
        RunFailed, RunFinished, StageFinished, StartRunRequest, WatchRunResponse,
        start_run_request, watch_run_response::Event,
    },
};
use tokio::{sync::Mutex, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tracing::Instrument as _;

use super::{
    Options, RESULTS_STAGE, RunContext, RunError, dataset, diffusion, execute, models,
    options::{OPTIONS_STAGE, conflict, max_cost, options_of, options_on_record},
    stage,
};
use crate::{
    config::Config,
    events::EventLog,
    plan::{self, ClassNeed},
    recipe::{self, Library, Recipe},
    remote::Services,
};

/// The runs of this orchestrator.
#[derive(Debug)]
pub struct Runs {
    config: Config,
    services: Services,
    library: Library,
    shutdown: CancellationToken,
    latest: Mutex<Option<Active>>,
}

/// The run under way, or the last one.
#[derive(Debug)]
struct Active {
    run_id: String,
    events: Arc<EventLog>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Active {
    fn busy(&self) -> RunError {
        RunError::Busy {
            active: self.run_id.clone(),
        }
    }
}

impl Runs {
    /// No run under way; cancelling `shutdown` lets what is in flight settle and stops.
    pub fn new(config: &Config, services: Services, shutdown: CancellationToken) -> Self {
        let library = Library::new(&config.recipes.folder);
        Self {
            config: config.clone(),
            services,
            library,
            shutdown,
            latest: Mutex::default(),
        }
    }

    /// Starts a run, or goes on with it; answers its id and whether it was known.
    ///
    /// # Errors
    /// A bad request or recipe, a run that exists with other settings, another run under way, no label store.
    pub async fn start(&self, request: StartRunRequest) -> Result<(String, bool), RunError> {
        let mut latest = self.latest.lock().await;
        let run_id = match request.run_id.as_str() {
            "" => uuid::Uuid::now_v7().to_string(),
            id => id.to_owned(),
        };
        crate::recipe::check_name("run_id", &run_id)?;
        if let Some(active) = under_way(&latest) {
            return if active.run_id == run_id {
                Ok((run_id, true))
            } else {
                Err(active.busy())
            };
        }
        let known = self.known(&run_id).await?;
        let context = self.prepare(&request, &run_id, known.as_ref())?;
        if known.is_none() {
            if diffusion::is_used(&context.0) {
                diffusion::wanted(&context.0)?;
            }
            models::backends(&context.0).await?;
        }
        let done = self.register(&context, known.is_none()).await?;
        *latest = Some(self.spawn(context, done));
        Ok((run_id, known.is_some()))
    }

    /// What the run of a request would generate, in label order, and its backends.
    ///
    /// # Errors
    /// A bad request or recipe, a data set that cannot be used, no label store or generator.
    pub async fn estimate(
        &self,
        request: &StartRunRequest,
    ) -> Result<(Vec<(String, ClassNeed)>, Vec<Backend>), RunError> {
        let (context, _) = self.prepare(request, "estimate", None)?;
        let backends = models::backends(&context).await?;
        dataset::import(&context).await?;
        let (labels, real): (Vec<_>, Vec<_>) =
            dataset::split(&context).await?.train.into_iter().unzip();
        let needs = plan::needs(&real, &context.recipe.plan);
        Ok((labels.into_iter().zip(needs).collect(), backends))
    }

    /// The run's context, from the request and, for a known one, from the label store.
    fn prepare(
        &self,
        request: &StartRunRequest,
        run_id: &str,
        known: Option<&GetRunResponse>,
    ) -> Result<(RunContext, Run), RunError> {
        let (run, recipe) =
            self.run_of(request, run_id, known.and_then(|known| known.run.as_ref()))?;
        let options = options_of(request, run_id, known)?;
        let run = Run {
            dataset_id: dataset::dataset_id(&options.dataset_path),
            ..run
        };
        self.context(run, recipe, options, max_cost(request)?)
    }

    /// The run as the request and, for a known one, the label store describe it.
    fn run_of(
        &self,
        request: &StartRunRequest,
        run_id: &str,
        known: Option<&Run>,
    ) -> Result<(Run, Recipe), RunError> {
        let recipe_toml = match (&request.recipe, known) {
            (Some(start_run_request::Recipe::RecipeName(name)), _) => self.library.text(name)?,
            (Some(start_run_request::Recipe::RecipeToml(text)), _) => text.clone(),
            (None, Some(run)) => run.recipe_toml.clone(),
            (None, None) => {
                return Err(RunError::Invalid {
                    field: "recipe",
                    why: "is missing; give recipe_name or recipe_toml".into(),
                });
            }
        };
        let recipe = Recipe::parse(&recipe_toml)?;
        let generator = match (request.generator.as_str(), known) {
            ("", Some(run)) => run.generator.clone(),
            ("", None) => recipe.generator.names(),
            (given, _) => given.to_owned(),
        };
        let run = Run {
            run_id: run_id.to_owned(),
            dataset_id: String::new(),
            recipe_toml,
            seed: request
                .seed
                .or(known.map(|run| run.seed))
                .unwrap_or(recipe.seed),
            generator,
            max_synthetic_fraction: recipe.plan.max_synthetic_fraction,
            max_phash_distance: recipe.plan.max_phash_distance,
            prompt_version: recipe.prompts.version(&recipe.classes),
            max_clip_cosine: recipe.plan.max_clip_cosine,
            class_size: recipe.plan.class_size(recipe.classes.len()),
        };
        Ok((run, recipe))
    }

    fn context(
        &self,
        run: Run,
        recipe: Recipe,
        options: Options,
        max_cost_usd: Option<f64>,
    ) -> Result<(RunContext, Run), RunError> {
        let recipe = Arc::new(recipe);
        let guard = models::guard(recipe.clone(), &self.config)?;
        let backends = recipe.generator.chosen(&run.generator);
        let generator = |backend: &recipe::Backend| self.services.generator_at(&backend.address);
        let generators = backends.iter().map(generator).collect::<Result<_, _>>();
        let context = RunContext {
            run_id: run.run_id.clone(),
            dataset_id: run.dataset_id.clone(),
            backends,
            generators: generators.map_err(|error| RunError::Invalid {
                field: "generator",
                why: error.to_string(),
            })?,
            recipe,
            seed: run.seed,
            options,
            max_cost_usd,
            services: self.services.clone(),
            guard,
            config: self.config.clone(),
            events: Arc::default(),
            cancel: self.shutdown.child_token(),
        };
        Ok((context, run))
    }

    /// Makes the label store know run and options; answers the stages that are done.
    async fn register(
        &self,
        (context, run): &(RunContext, Run),
        new: bool,
    ) -> Result<Vec<Stage>, RunError> {
        let request = CreateRunRequest {
            run: Some(run.clone()),
        };
        self.services
            .runs
            .call(request, |mut runs, request| async move {
                runs.create_run(request).await
            })
            .await?;
        if new {
            stage::record(context, OPTIONS_STAGE, &context.options, None).await?;
        }
        let known = self.known(&context.run_id).await?.unwrap_or_default();
        match options_on_record(&known)? {
            Some(options) if options != context.options => Err(conflict(&context.run_id, &options)),
            Some(_) => Ok(known.stages),
            None => {
                stage::record(context, OPTIONS_STAGE, &context.options, None).await?;
                Ok(known.stages)
            }
        }
    }

    fn spawn(&self, (context, _): (RunContext, Run), done: Vec<Stage>) -> Active {
        let span = tracing::info_span!(parent: None, "run", run_id = context.run_id, recipe = context.recipe.name);
        let (run_id, events, cancel) = (
            context.run_id.clone(),
            context.events.clone(),
            context.cancel.clone(),
        );
        let task = tokio::spawn(execute(Arc::new(context), done).instrument(span));
        Active {
            run_id,
            events,
            cancel,
            task,
        }
    }

    /// What happens in a run from now on, beginning with where it stands.
    ///
    /// # Errors
    /// An unknown run, no label store.
    pub async fn watch(
        &self,
        run_id: &str,
    ) -> Result<ReceiverStream<Result<WatchRunResponse, Status>>, RunError> {
        if let Some(active) = self
            .latest
            .lock()
            .await
            .as_ref()
            .filter(|active| active.run_id == run_id)
        {
            return Ok(active.events.clone().watch());
        }
        let known = self.known(run_id).await?.ok_or_else(|| unknown(run_id))?;
        let events = Arc::new(EventLog::default());
        for stage in known
            .stages
            .iter()
            .filter(|stage| stage.name != OPTIONS_STAGE)
        {
            let finished = StageFinished {
                stage: stage.name.clone(),
                duration: stage.duration,
                resumed: true,
            };
            events.emit(Event::StageFinished(finished));
        }
        events.emit(
            match known
                .stages
                .iter()
                .find(|stage| stage.name == RESULTS_STAGE)
            {
                Some(stage) => Event::Finished(RunFinished {
                    results_json: stage.result_json.clone(),
                }),
                None => Event::Failed(RunFailed {
                    stage: String::new(),
                    message: "the run is not under way here; StartRun with its id goes on".into(),
                }),
            },
        );
        Ok(events.watch())
    }

    /// Asks a run to stop after what is in flight is settled, and waits for that.
    ///
    /// # Errors
    /// A run that is not under way here.
    pub async fn cancel(&self, run_id: &str) -> Result<(), RunError> {
        let mut latest = self.latest.lock().await;
        let active = latest.as_mut().filter(|active| active.run_id == run_id);
        let active = active
            .ok_or_else(|| RunError::NotFound(format!("run {run_id:?} is not under way here")))?;
        active.cancel.cancel();
        if !active.task.is_finished() {
            // A run that panicked has ended, too.
            let _ = (&mut active.task).await;
        }
        Ok(())
    }

    /// The results of a finished run and the counts of its data set.
    ///
    /// # Errors
    /// An unknown or unfinished run, no label store.
    pub async fn results(&self, run_id: &str) -> Result<(String, Vec<ClassCounts>), RunError> {
        let known = self.known(run_id).await?.ok_or_else(|| unknown(run_id))?;
        let finished = known
            .stages
            .into_iter()
            .find(|stage| stage.name == RESULTS_STAGE);
        let results = finished.ok_or_else(|| unfinished(run_id))?;
        let request = GetDatasetRequest {
            dataset_id: known.run.unwrap_or_default().dataset_id,
        };
        let store = &self.services.datasets;
        let dataset = store
            .call(request, |mut store, request| async move {
                store.get_dataset(request).await
            })
            .await?;
        Ok((results.result_json, dataset.classes))
    }

    async fn known(&self, run_id: &str) -> Result<Option<GetRunResponse>, RunError> {
        let request = GetRunRequest {
            run_id: run_id.to_owned(),
        };
        match self
            .services
            .runs
            .call(request, |mut runs, request| async move {
                runs.get_run(request).await
            })
            .await
        {
            Ok(known) => Ok(Some(known)),
            Err(error) if error.status.code() == Code::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// The run that has not ended.
fn under_way(latest: &Option<Active>) -> Option<&Active> {
    latest.as_ref().filter(|active| !active.task.is_finished())
}

fn unfinished(run_id: &str) -> RunError {
    RunError::NotFound(format!(
        "run {run_id:?} is not finished; StartRun with its id goes on"
    ))
}

fn unknown(run_id: &str) -> RunError {
    RunError::NotFound(format!("the label store knows no run {run_id:?}"))
}
