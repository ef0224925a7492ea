//! `saga calibrate`: thresholds for the gates of a finished run that bound the share of bad accepts.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use futures::TryStreamExt as _;
use orchestrator::calibration::figures::{Calibration, ClassThreshold};
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
    output,
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
    write(&args.out, &calibration)?;
    if global.json {
        return output::print_json(&calibration);
    }
    println!("{}", table(&calibration));
    println!("{}", calibration.assumption);
    println!(
        "kept: how often it was, when the choice was repeated on candidates drawn from the same bad ones"
    );
    println!(
        "Written below {}: gates.toml, which takes the place of [[gates]] in a recipe, and calibration.json, every figure",
        args.out.display()
    );
    Ok(())
}

/// Writes every figure, and the gates as a recipe has them.
pub(super) fn write(out: &Path, calibration: &Calibration) -> Result<()> {
    fs::write(
        out.join("calibration.json"),
        serde_json::to_string_pretty(calibration)?,
    )?;
    fs::write(out.join("gates.toml"), &calibration.gates_toml)?;
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
    let mut table = output::table([
        "gate",
        "class",
        "min before",
        "min",
        "bad accepted",
        "at most",
        "good accepted",
        "kept",
    ]);
    for gate in &calibration.gates {
        for (label, class) in &gate.classes {
            let [before, min, bad, bound, good, kept] = cells(class);
            table.add_row([
                gate.gate.clone(),
                label.clone(),
                before,
                min,
                bad,
                bound,
                good,
                kept,
            ]);
        }
        if gate.classes.is_empty() {
            let unknown = "no bad candidates are known".to_owned();
            table.add_row([gate.gate.clone(), unknown]);
        }
    }
    table.to_string()
}

fn cells(class: &ClassThreshold) -> [String; 6] {
    let before = class
        .before
        .map_or_else(|| "-".to_owned(), |before| format!("{:.3}", before.min));
    let Some(certified) = class.certified else {
        let why = format!("none holds, of {}", class.bad);
        let none = || "-".to_owned();
        return [before, "as before".into(), why, none(), none(), none()];
    };
    [
        before,
        format!("{:.3}", certified.min),
        format!("{} of {}", certified.bad_accepted, class.bad),
        output::percent(certified.bound),
        format!("{} of {}", class.good_accepted.unwrap_or(0), class.good),
        format!("{} of {}", class.repeated.kept, class.repeated.certified),
    ]
}
