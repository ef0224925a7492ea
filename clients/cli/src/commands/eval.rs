//! `saga eval`: what a finished run's images are worth, next to what costs less.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use orchestrator::evaluation::figures::Evaluation;
use saga_proto::{
    evaluation::v1::{
        EvaluateRequest, EvaluateResponse, evaluate_response::Event,
        evaluation_service_client::EvaluationServiceClient,
    },
    orchestrator::v1::{WatchRunResponse, watch_run_response::Event as Watched},
};
use tokio_util::sync::CancellationToken;

use super::run;
use crate::{
    args::{EvalArgs, Global},
    output,
    progress::Progress,
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
    let finished = follow(global, &system, request).await;
    system.stop().await?;
    let Some(json) = finished? else {
        bail!("interrupted; the same command goes on: arms that are trained are reused");
    };
    let evaluation: Evaluation =
        serde_json::from_str(&json).context("the evaluation is not what this command reads")?;
    write(&args.out, &evaluation)?;
    if global.json {
        return output::print_json(&evaluation);
    }
    println!("{}", report::table(&evaluation));
    println!("{}", report::sentence(&evaluation));
    println!(
        "Written below {}: eval.html, the report, and eval.json, every figure",
        args.out.display()
    );
    Ok(())
}

fn write(out: &Path, evaluation: &Evaluation) -> Result<()> {
    fs::write(
        out.join("eval.json"),
        serde_json::to_string_pretty(evaluation)?,
    )?;
    fs::write(out.join("eval.html"), report::html(evaluation)?)?;
    Ok(())
}

/// Shows the evaluation's events; `None` where the user interrupted it. Leaving the stream cancels it.
async fn follow(
    global: &Global,
    system: &System,
    request: EvaluateRequest,
) -> Result<Option<String>> {
    let client = EvaluationServiceClient::new(system.orchestrator.clone());
    let mut events = saga_client::limited!(client)
        .evaluate(request)
        .await?
        .into_inner();
    let mut progress = Progress::new(global.json);
    let interrupted = CancellationToken::new();
    saga_chassis::signals::cancel_on_stop(interrupted.clone())?;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = interrupted.cancelled() => return Ok(None),
        };
        let Some(event) = event else {
            bail!("the orchestrator ended the stream before the evaluation; try again")
        };
        match event? {
            EvaluateResponse {
                event: Some(Event::Failed(failed)),
            } => bail!("{} failed: {}", failed.stage, failed.message),
            EvaluateResponse {
                event: Some(Event::Finished(finished)),
            } => return Ok(Some(finished.evaluation_json)),
            EvaluateResponse { event } => progress.show(&WatchRunResponse {
                event: event.and_then(watched),
            })?,
        }
    }
}

/// The same event as a run has it.
fn watched(event: Event) -> Option<Watched> {
    match event {
        Event::StageStarted(started) => Some(Watched::StageStarted(started)),
        Event::StageProgress(progress) => Some(Watched::StageProgress(progress)),
        Event::StageFinished(finished) => Some(Watched::StageFinished(finished)),
        Event::TrainingEpoch(epoch) => Some(Watched::TrainingEpoch(epoch)),
        Event::Failed(_) | Event::Finished(_) => None,
    }
}
