//! `saga run --estimate`: what a run would ask of its backends, in requests, days and US dollars.

use anyhow::Result;
use saga_proto::{
    generator::v1::Backend,
    orchestrator::v1::{
        EstimateRunRequest, EstimateRunResponse, StartRunRequest,
        orchestrator_service_client::OrchestratorServiceClient,
    },
};
use serde::Serialize;

use super::run::recipe;
use crate::{
    args::{Global, RunArgs},
    output,
    system::{Folders, System, path_text},
};

/// Numbers of images that are shown beside the plan's own.
const SIZES: [u64; 4] = [20, 100, 1_000, 10_000];
/// Shares of candidates that the guard may accept.
const ACCEPTED: [f64; 3] = [1.0, 0.5, 0.25];
const MINUTES_A_DAY: u64 = 24 * 60;

/// What some images take.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    backend: String,
    images: u64,
    accepted: f64,
    requests: u64,
    /// At the backend's quota; absent where it has none.
    days: Option<f64>,
    cost_usd: f64,
}

pub async fn estimate(global: &Global, args: &RunArgs) -> Result<()> {
    let run = StartRunRequest {
        recipe: Some(recipe(&args.recipe)?),
        dataset_path: path_text(&args.data)?,
        generator: args.generator.clone().unwrap_or_default(),
        seed: args.seed,
        ..StartRunRequest::default()
    };
    let scratch = tempfile::tempdir()?;
    let system = System::open(global, Folders::below(scratch.path())).await?;
    let client = OrchestratorServiceClient::new(system.orchestrator.clone());
    let request = EstimateRunRequest { run: Some(run) };
    let estimated = saga_client::limited!(client).estimate_run(request).await;
    system.stop().await?;
    let estimated = estimated?.into_inner();
    let rows = rows(&estimated);
    if global.json {
        return output::print_json(&rows);
    }
    show(&estimated, &rows);
    Ok(())
}

/// Images that the plan wants.
fn planned(estimated: &EstimateRunResponse) -> u64 {
    let planned = estimated
        .classes
        .iter()
        .map(|class| u64::from(class.planned));
    planned.sum()
}

fn rows(estimated: &EstimateRunResponse) -> Vec<Row> {
    let mut sizes = SIZES.to_vec();
    sizes.push(planned(estimated));
    sizes.sort_unstable();
    sizes.dedup();
    let mut rows = Vec::new();
    for backend in &estimated.backends {
        for &images in &sizes {
            rows.extend(ACCEPTED.map(|accepted| row(backend, images, accepted)));
        }
    }
    rows
}

fn row(backend: &Backend, images: u64, accepted: f64) -> Row {
    let requests = (images as f64 / accepted).ceil();
    let limits = [
        backend.requests_per_minute.saturating_mul(MINUTES_A_DAY),
        backend.requests_per_day,
    ];
    let a_day = limits.into_iter().filter(|limit| *limit > 0).min();
    Row {
        backend: backend.name.clone(),
        images,
        accepted,
        requests: requests as u64,
        days: a_day.map(|limit| requests / limit as f64),
        cost_usd: requests * backend.cost_usd,
    }
}

fn show(estimated: &EstimateRunResponse, rows: &[Row]) {
    let mut table = output::table(["class", "real", "cap", "wanted"]);
    for class in &estimated.classes {
        let figures = [class.real, class.cap, class.planned].map(|figure| figure.to_string());
        table.add_row([class.label.clone()].into_iter().chain(figures));
    }
    println!("{table}");
    let wanted = planned(estimated);
    let mut table = output::table([
        "backend",
        "images",
        "accepted",
        "requests",
        "days",
        "US dollars",
    ]);
    for row in rows {
        let mark = if row.images == wanted {
            " (this run)"
        } else {
            ""
        };
        table.add_row([
            row.backend.clone(),
            format!("{}{mark}", row.images),
            output::percent(row.accepted),
            row.requests.to_string(),
            row.days.map_or("-".to_owned(), output::figure),
            format!("{:.2}", row.cost_usd),
        ]);
    }
    println!("{table}");
    println!("How many candidates the guard accepts shows a run with --test-mode.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tighter_limit_gives_the_days() {
        let backend = Backend {
            name: "gemini".to_owned(),
            cost_usd: 0.04,
            requests_per_minute: 10,
            requests_per_day: 1_000,
            ..Backend::default()
        };
        let row = row(&backend, 1_500, 0.5);
        assert_eq!((row.requests, row.days), (3_000, Some(3.0)));
        assert!((row.cost_usd - 120.0).abs() < 1e-9);
        let free = Backend {
            requests_per_minute: 1,
            ..Backend::default()
        };
        assert_eq!(super::row(&free, 1_440, 1.0).days, Some(1.0));
        assert_eq!(super::row(&Backend::default(), 1, 1.0).days, None);
    }
}
