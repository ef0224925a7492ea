//! One run of the loop, stage by stage. Each finished stage is recorded in the label store with what it found and is skipped
//! when the run is started again; between its records a stage can be repeated without harm.

mod active;
mod assignment;
mod attempt;
pub(crate) mod bounded;
pub(crate) mod calibration;
mod compare;
pub(crate) mod dataset;
mod diffusion;
pub(crate) mod embed;
mod ended;
mod error;
mod generate;
mod images;
pub(crate) mod judge;
pub(crate) mod models;
pub(crate) mod normalise;
mod options;
mod pauses;
mod planning;
pub(crate) mod read;
mod register;
pub(crate) mod stage;
mod tallies;
pub(crate) mod training;

use std::sync::Arc;

use saga_proto::{
    labelstore::v1::Stage,
    orchestrator::v1::{RunFailed, RunFinished, watch_run_response::Event},
};
use tokio_util::sync::CancellationToken;

pub use active::Runs;
pub use error::RunError;
pub use options::Options;

use crate::{
    config::Config,
    events::EventLog,
    guard::Guard,
    recipe::{Backend, Gate, Recipe},
    remote::{Generator, Services},
    results::{Calibration, Results},
    run::stage::Stages,
};

/// Name under which results are recorded.
pub const RESULTS_STAGE: &str = "compare";

/// Everything a stage needs.
#[derive(Debug, Clone)]
pub struct RunContext {
    /// The run's name.
    pub run_id: String,
    /// The data set's name in the label store.
    pub dataset_id: String,
    /// The recipe as given, from the calibration on with the thresholds that it chose.
    pub recipe: Arc<Recipe>,
    /// The run's seed.
    pub seed: u64,
    /// The generator's backends, at least one.
    pub backends: Vec<Backend>,
    /// Who serves each of them, in the same order.
    pub generators: Vec<Generator>,
    /// Settings beside the recipe.
    pub options: Options,
    /// Most US dollars that the run's backends may spend in all.
    pub max_cost_usd: Option<f64>,
    /// The other services.
    pub services: Services,
    /// The cascade, with the run's own models.
    pub guard: Guard,
    /// This orchestrator's configuration.
    pub config: Config,
    /// Who watches.
    pub events: Arc<EventLog>,
    /// Asks for the end.
    pub cancel: CancellationToken,
}

impl RunContext {
    /// The settings of one of the run's backends, and who serves it.
    pub(crate) fn backend(&self, name: &str) -> Result<(&Backend, &Generator), RunError> {
        let mut backends = self.backends.iter().zip(&self.generators);
        let found = backends.find(|(backend, _)| backend.name == name);
        found.ok_or_else(|| RunError::Data(format!("the run has no backend {name:?}")))
    }

    /// The same with the thresholds that a calibration chose, where there is one.
    pub(crate) fn calibrated(&self, calibration: Option<&Calibration>) -> Result<Self, RunError> {
        match calibration {
            Some(found) => self.with_gates(found.apply(&self.recipe.gates)),
            None => Ok(self.clone()),
        }
    }

    /// The same with another cascade.
    pub(crate) fn with_gates(&self, gates: Vec<Gate>) -> Result<Self, RunError> {
        let recipe = Arc::new(Recipe {
            gates,
            ..Recipe::clone(&self.recipe)
        });
        Ok(Self {
            guard: models::guard(recipe.clone(), &self.config)?,
            recipe,
            ..self.clone()
        })
    }
}

/// Runs all stages that are not done, and tells the watchers how it ended.
pub async fn execute(context: Arc<RunContext>, done: Vec<Stage>) {
    let stages = Stages::new(&context, done);
    match all_stages(&context, &stages).await {
        Ok(results) => {
            tracing::info!(run_id = context.run_id, "run finished");
            let results_json = serde_json::to_string(&results).unwrap_or_default();
            context
                .events
                .emit(Event::Finished(RunFinished { results_json }));
        }
        Err(error) => {
            let stage = stages.current();
            tracing::warn!(run_id = context.run_id, stage, %error, "run stopped");
            context.events.emit(Event::Failed(RunFailed {
                stage,
                message: error.to_string(),
            }));
        }
    }
}

async fn all_stages(context: &Arc<RunContext>, stages: &Stages<'_>) -> Result<Results, RunError> {
    if !stages.is_done("generate") {
        models::backends(context).await?;
    }
    stages.run("import", dataset::import(context)).await?;
    stages.run("split", dataset::split(context)).await?;
    let baseline = stages.run("baseline", training::baseline(context)).await?;
    let clip = match context.recipe.uses("clip-gate") {
        true => Some(stages.run("clip", training::clip(context)).await?),
        false => None,
    };
    let local = match diffusion::is_used(context) {
        true => Some(
            stages
                .run(diffusion::DIFFUSION, diffusion::train(context))
                .await?,
        ),
        false => None,
    };
    let plan = stages
        .run("plan", planning::plan(context, &baseline))
        .await?;
    planning::announce(context, &plan);
    if let Some(clip) = &clip
        && context.recipe.plan.max_clip_cosine.is_some()
    {
        let embed = embed::real_images(context, clip);
        stages.run(embed::STAGE, embed).await?;
    }
    let models = models::InUse {
        baseline,
        clip,
        local,
    };
    let calibration = match context.recipe.calibration {
        Some(promise) => Some(
            stages
                .run(
                    calibration::STAGE,
                    calibration::stage(context, &models, promise),
                )
                .await?,
        ),
        None => None,
    };
    let context = &Arc::new(context.calibrated(calibration.as_ref())?);
    stages
        .run("generate", generate::generate(context, models.clone()))
        .await?;
    let augmented = stages
        .run("augmented", training::augmented(context))
        .await?;
    let results = compare::compare(context, &models, &augmented, &plan, calibration);
    stages.run(RESULTS_STAGE, results).await
}
