//! `saga doctor`: what this machine has, what is missing, and what to do about it.

use anyhow::Result;
use saga_proto::orchestrator::v1::{
    ListRecipesRequest, orchestrator_service_client::OrchestratorServiceClient,
};
use serde::Serialize;

use crate::{
    args::Global,
    failure, output,
    system::{Folders, System},
};

/// Free disk below which a run of ordinary size may not finish.
const LEAST_FREE_DISK: u64 = 2 << 30;

#[derive(Serialize)]
struct Check {
    check: &'static str,
    ok: bool,
    found: String,
    /// What to do; empty where all is well.
    advice: String,
}

impl Check {
    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            ok: true,
            found: found.into(),
            advice: String::new(),
        }
    }

    fn bad(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            check,
            ok: false,
            found: found.into(),
            advice: advice.into(),
        }
    }
}

pub async fn doctor(global: &Global) -> Result<()> {
    let mut checks = vec![cores(), arithmetic(global), disk()];
    checks.extend(services(global).await);
    if global.json {
        output::print_json(&checks)?;
    } else {
        let mut table = output::table(["check", "", "found"]);
        for check in &checks {
            let found = if check.ok {
                check.found.clone()
            } else {
                format!("{}\n{}", check.found, check.advice)
            };
            table.add_row([
                check.check,
                if check.ok { "ok" } else { "FAIL" },
                found.as_str(),
            ]);
        }
        println!("{table}");
    }
    let failed = checks.iter().filter(|check| !check.ok).count();
    anyhow::ensure!(failed == 0, "{failed} of {} checks failed", checks.len());
    Ok(())
}

fn cores() -> Check {
    match std::thread::available_parallelism() {
        Ok(cores) => Check::good("processor", format!("{cores} cores")),
        Err(error) => Check::bad(
            "processor",
            error.to_string(),
            "the services fall back to one core",
        ),
    }
}

fn arithmetic(global: &Global) -> Check {
    match all_in_one::runtime_summary(&global.device, &global.precision) {
        Ok(summary) => Check::good("models", summary),
        Err(error) => Check::bad(
            "models",
            failure::describe(&error),
            "try --device cpu --precision f32",
        ),
    }
}

fn disk() -> Check {
    let folder = std::env::current_dir().unwrap_or_else(|_| ".".into());
    match fs4::available_space(&folder) {
        Ok(free) if free < LEAST_FREE_DISK => Check::bad(
            "disk",
            format!("{:.1} GB free", free as f64 / 1e9),
            "free at least 2 GB, or give --out on another disk",
        ),
        Ok(free) => Check::good("disk", format!("{:.1} GB free", free as f64 / 1e9)),
        Err(error) => Check::bad(
            "disk",
            error.to_string(),
            "check that the current folder can be read",
        ),
    }
}

/// Starts (or reaches) the services and asks one of them something.
async fn services(global: &Global) -> Vec<Check> {
    let advice = "see the message above; `saga up` shows the services' log";
    let scratch = match tempfile::tempdir() {
        Ok(scratch) => scratch,
        Err(error) => {
            return vec![Check::bad(
                "temporary folder",
                error.to_string(),
                "set TMPDIR to a writable folder",
            )];
        }
    };
    let system = match System::open(global, Folders::below(scratch.path())).await {
        Ok(system) => system,
        Err(error) => return vec![Check::bad("services", failure::describe(&error), advice)],
    };
    let answer = OrchestratorServiceClient::new(system.orchestrator.clone())
        .list_recipes(ListRecipesRequest {})
        .await;
    let mut checks = vec![Check::good("services", "all of them answer over gRPC")];
    checks.push(match answer {
        Ok(answer) => {
            let names: Vec<_> = answer
                .into_inner()
                .recipes
                .into_iter()
                .map(|recipe| recipe.name)
                .collect();
            Check::good("recipes", names.join(", "))
        }
        Err(status) => Check::bad("recipes", failure::describe_status(&status), advice),
    });
    if let Err(error) = system.stop().await {
        checks.push(Check::bad("shutdown", failure::describe(&error), advice));
    }
    checks
}
