//! `saga calibrate`: thresholds for the gates of a finished run that bound the share of bad accepts.

use std::iter;

use anyhow::{Context as _, Result, bail};
use futures::TryStreamExt as _;
use orchestrator::results::calibration::{Calibration, ClassThresholds, Counts};
use saga_proto::{
    evaluation::v1::{
        CalibrateRequest, calibrate_response::Event,
        evaluation_service_client::EvaluationServiceClient,
    },
    orchestrator::v1::{RunFinished, WatchRunResponse, watch_run_response::Event as Watched},
};

use super::{follow::follow, run};
use crate::{
    args::{CalibrateArgs, Global},
    output, report,
    system::{Folders, System},
};

pub async fn calibrate(global: &Global, args: CalibrateArgs) -> Result<()> {
    let request = CalibrateRequest {
        run_id: run::id_in(&args.out)?,
        max_bad_accepts: args.max_bad_accepts,
        confidence: args.confidence,
    };
    let system = System::open(global, Folders::below(&args.out)).await?;
    let finished = watch(global, &system, request).await;
    system.stop().await?;
    let Some(json) = finished? else {
        bail!("interrupted; the same command begins anew");
    };
    let calibration: Calibration =
        serde_json::from_str(&json).context("the calibration is not what this command reads")?;
    report::calibration::write(&args.out, &calibration)?;
    if global.json {
        return output::print_json(&calibration);
    }
    println!("{}", table(&calibration));
    println!("Bad: {}. {}", calibration.bad, calibration.assumption);
    println!(
        "accepted: with the thresholds before -> with these; kept: how often it was, when the choice was repeated on candidates drawn from the same bad ones"
    );
    println!(
        "Written below {}: gates.toml, which takes the place of [[gates]] in a recipe, and calibration.json, every figure",
        args.out.display()
    );
    Ok(())
}

/// The calibration as JSON; `None` where the user interrupted it. Leaving the stream cancels it.
async fn watch(
    global: &Global,
    system: &System,
    request: CalibrateRequest,
) -> Result<Option<String>> {
    let client = EvaluationServiceClient::new(system.orchestrator.clone());
    let events = saga_client::limited!(client).calibrate(request).await?;
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
        Event::Failed(failed) => Watched::Failed(failed),
        Event::Finished(finished) => Watched::Finished(RunFinished {
            results_json: finished.calibration_json,
        }),
    }
}

fn table(calibration: &Calibration) -> String {
    let gates = calibration
        .gates
        .iter()
        .map(|gate| format!("min of {gate}"));
    let columns = ["bad accepted", "at most", "good accepted", "kept"].map(str::to_owned);
    let mut table = output::table(iter::once("class".to_owned()).chain(gates).chain(columns));
    for (label, class) in &calibration.classes {
        let mut row = vec![label.clone()];
        row.extend(calibration.gates.iter().map(|gate| {
            let chosen = class
                .chosen
                .as_ref()
                .and_then(|chosen| chosen.min.get(gate));
            chosen.map_or_else(|| "as before".to_owned(), |min| format!("{min:.3}"))
        }));
        row.extend(accepted(class));
        table.add_row(row);
    }
    table.to_string()
}

/// Bad candidates accepted before and now, the bound, good candidates accepted before and now, how often the promise was kept.
fn accepted(class: &ClassThresholds) -> [String; 4] {
    let Counts { bad, good } = class.judged;
    let before = class.before;
    let Some(chosen) = &class.chosen else {
        let none = || "-".to_owned();
        return [
            format!("{} of {bad}", before.bad),
            none(),
            format!("{} of {good}", before.good),
            none(),
        ];
    };
    let Counts {
        bad: bad_accepted,
        good: good_accepted,
    } = chosen.accepted;
    let repeated = class.repeated;
    [
        format!("{} -> {bad_accepted} of {bad}", before.bad),
        output::percent(chosen.bound),
        format!("{} -> {good_accepted} of {good}", before.good),
        format!("{} of {}", repeated.kept, repeated.certified),
    ]
}
