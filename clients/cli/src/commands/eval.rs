//! `saga eval`: what a finished run's images are worth, next to what costs less.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use futures::TryStreamExt as _;
use orchestrator::evaluation::figures::Evaluation;
use saga_proto::{
    evaluation::v1::{
        EvaluateRequest, evaluate_response::Event,
        evaluation_service_client::EvaluationServiceClient,
    },
    orchestrator::v1::{RunFinished, WatchRunResponse, watch_run_response::Event as Watched},
};

use super::{follow::follow, run};
use crate::{
    args::{EvalArgs, Global},
    output,
    report::eval as report,
    system::{Folders, System},
};

pub async fn eval(global: &Global, args: EvalArgs) -> Result<()> {
    let request = EvaluateRequest {
        run_id: run::id_in(&args.out)?,
        arms: args.arms,
        seeds: args.seeds,
        steps: args.steps.unwrap_or(0),
    };
    let system = System::open(global, Folders::below(&args.out)).await?;
    let finished = watch(global, &system, request).await;
    system.stop().await?;
    let Some(json) = finished? else {
        bail!("interrupted; the same command goes on: arms that are trained are reused");
    };
    let mut evaluation: Evaluation =
        serde_json::from_str(&json).context("the evaluation is not what this command reads")?;
    if let Some(answers) = evaluation.answers.take() {
        saga_export::write(&args.out.join(ANSWERS), serde_json::to_string(&answers)?)?;
    }
    tell(global, &args.out, &evaluation)
}

/// What each model answered, as `saga pool` reads it.
pub const ANSWERS: &str = "eval_answers.json";

/// Writes an evaluation's report and figures, and prints them.
pub fn tell(global: &Global, out: &Path, evaluation: &Evaluation) -> Result<()> {
    saga_export::write(
        &out.join("eval.json"),
        serde_json::to_string_pretty(evaluation)?,
    )?;
    saga_export::write(&out.join("eval.html"), report::html(evaluation)?)?;
    if global.json {
        return output::print_json(evaluation);
    }
    println!("{}", report::table(evaluation));
    println!("{}", report::sentence(evaluation));
    println!(
        "Written below {}: eval.html, the report, and eval.json, every figure",
        out.display()
    );
    Ok(())
}

/// The evaluation as JSON; `None` where the user interrupted it. Leaving the stream cancels it.
async fn watch(
    global: &Global,
    system: &System,
    request: EvaluateRequest,
) -> Result<Option<String>> {
    let client = EvaluationServiceClient::new(system.orchestrator.clone());
    let events = saga_client::limited!(client).evaluate(request).await?;
    let events = events.into_inner().map_ok(|response| WatchRunResponse {
        event: response.event.map(watched),
    });
    follow(global, events).await
}

/// The same event as a run has it.
fn watched(event: Event) -> Watched {
    match event {
        Event::StageStarted(started) => Watched::StageStarted(started),
        Event::StageProgress(progress) => Watched::StageProgress(progress),
        Event::StageFinished(finished) => Watched::StageFinished(finished),
        Event::TrainingEpoch(epoch) => Watched::TrainingEpoch(epoch),
        Event::Failed(failed) => Watched::Failed(failed),
        Event::Finished(finished) => Watched::Finished(RunFinished {
            results_json: finished.evaluation_json,
        }),
    }
}
