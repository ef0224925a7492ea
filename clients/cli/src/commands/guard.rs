//! `saga guard`: one candidate through the gates.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, bail};
use saga_proto::{
    gate::v1::Verdict,
    guard::v1::{Candidate, CheckRequest, Decision, guard_service_client::GuardServiceClient},
    model::v1::{LoadModelRequest, model_service_client::ModelServiceClient},
    r#type::v1::Image,
};
use serde_json::{Value, json};

use crate::{
    args::{Global, GuardArgs},
    output, progress,
    system::{Folders, System, path_text},
};

pub async fn guard(global: &Global, args: GuardArgs) -> Result<()> {
    let candidate = Candidate {
        candidate: Some(read_image(&args.candidate)?),
        source: Some(read_image(&args.source)?),
        target_label: args.target,
        recipe: args.recipe,
        ..Default::default()
    };
    let scratch = tempfile::tempdir()?;
    let system = System::open(global, Folders::below(scratch.path())).await?;
    if system.local().is_some() {
        load_models(&system, &args.models).await?;
    }
    let mut client = saga_client::limited!(GuardServiceClient::new(system.orchestrator.clone()));
    let answer = client
        .check(CheckRequest {
            candidate: Some(candidate),
        })
        .await?
        .into_inner();
    let decision = answer
        .decision
        .context("the guard answered without a decision")?;
    show(global, &decision)?;
    system.stop().await
}

/// Puts a run's models `baseline` and `clip` below `models` into the gates of this process.
pub async fn load_models(system: &System, models: &Path) -> Result<()> {
    let Some(local) = system.local() else {
        return Ok(());
    };
    let addresses = local.addresses();
    for (name, address) in [
        ("baseline", &addresses.vit_classifier),
        ("clip", &addresses.clip_gate),
    ] {
        let directory = models.join(name);
        if !directory.join("config.json").exists() {
            bail!(
                "no model in `{}`; run `saga demo` first, or point --models at the `models` folder of a run",
                directory.display()
            );
        }
        let request = LoadModelRequest {
            name: name.to_owned(),
            directory: path_text(&directory)?,
            make_default: true,
        };
        ModelServiceClient::new(saga_client::connect(address).await?)
            .load_model(request)
            .await?;
    }
    Ok(())
}

/// The file at `path` as an image message.
pub fn read_image(path: &Path) -> Result<Image> {
    let data = std::fs::read(path)
        .with_context(|| format!("cannot read the image `{}`", path.display()))?;
    Ok(Image {
        data: data.into(),
        blake3: String::new(),
    })
}

fn show(global: &Global, decision: &Decision) -> Result<()> {
    if global.json {
        return output::print_json(&json!({
            "candidate_id": decision.candidate_id,
            "accepted": decision.accepted,
            "rejected_by": decision.rejected_by,
            "verdicts": decision.verdicts.iter().map(verdict_json).collect::<Vec<_>>(),
        }));
    }
    let mut table = output::table(["gate", "verdict", "score", "min", "max", "model", "ms"]);
    for verdict in &decision.verdicts {
        let bound = |bound: Option<f64>| {
            bound.map_or_else(|| "-".to_owned(), |bound| format!("{bound:.3}"))
        };
        table.add_row([
            verdict.gate.clone(),
            verdict.reason.clone(),
            format!("{:.4}", verdict.score),
            bound(verdict.threshold_min),
            bound(verdict.threshold_max),
            verdict
                .model
                .as_ref()
                .map_or_else(|| "-".to_owned(), |model| model.revision.clone()),
            format!("{:.1}", compute_milliseconds(verdict)),
        ]);
    }
    println!("{table}");
    if decision.accepted {
        println!("accepted");
    } else {
        println!("rejected by {}", decision.rejected_by);
    }
    Ok(())
}

fn compute_milliseconds(verdict: &Verdict) -> f64 {
    let compute = verdict
        .timing
        .as_ref()
        .and_then(|timing| timing.compute.as_ref());
    compute.map_or(0.0, |compute| {
        progress::duration(compute).as_secs_f64() * 1e3
    })
}

fn verdict_json(verdict: &Verdict) -> Value {
    json!({
        "gate": verdict.gate,
        "accepted": verdict.accepted,
        "score": verdict.score,
        "threshold_min": verdict.threshold_min,
        "threshold_max": verdict.threshold_max,
        "reason": verdict.reason,
        "model_revision": verdict.model.as_ref().map(|model| &model.revision),
        "compute_milliseconds": compute_milliseconds(verdict),
        "details": verdict.details.iter().collect::<BTreeMap<_, _>>(),
    })
}
