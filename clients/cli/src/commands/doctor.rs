//! `saga doctor`: what this machine has, what is missing, and what to do about it.

use anyhow::Result;
use saga_proto::{
    generator::v1::{
        CandidateSpec, CheckKeysRequest, GenerateRequest, ListBackendsRequest, Outcome,
        RenderDatasetRequest, generator_service_client::GeneratorServiceClient,
        studio_service_client::StudioServiceClient,
    },
    orchestrator::v1::{
        ListRecipesRequest, orchestrator_service_client::OrchestratorServiceClient,
    },
    r#type::v1::Image,
};
use serde::Serialize;

use crate::{
    args::{DoctorArgs, Global},
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

pub async fn doctor(global: &Global, args: &DoctorArgs) -> Result<()> {
    let mut checks = vec![cores(), arithmetic(global), disk()];
    checks.extend(services(global, args.generator.as_deref()).await);
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
async fn services(global: &Global, backend: Option<&str>) -> Vec<Check> {
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
    if let Some(backend) = backend {
        let generator = generator(&system, backend).await;
        checks.extend(generator.unwrap_or_else(|error| {
            let advice = "the message says what to change; `saga run --help` tells of --config-dir";
            vec![Check::bad("generator", failure::describe(&error), advice)]
        }));
    }
    if let Err(error) = system.stop().await {
        checks.push(Check::bad("shutdown", failure::describe(&error), advice));
    }
    checks
}

/// Checks the backend's keys and makes one image with it.
async fn generator(system: &System, name: &str) -> Result<Vec<Check>> {
    let client = GeneratorServiceClient::new(system.generator.clone());
    let mut client = saga_client::limited!(client);
    let backends = client
        .list_backends(ListBackendsRequest {})
        .await?
        .into_inner();
    let found = backends
        .backends
        .iter()
        .find(|backend| backend.name == name);
    let exemplars = found.map_or(0, |backend| backend.exemplars);
    let request = CheckKeysRequest {
        backend: name.to_owned(),
    };
    let keys = client.check_keys(request).await?.into_inner().keys;
    let mut checks: Vec<Check> = keys
        .into_iter()
        .map(|key| match key.accepted {
            true => Check::good("key", format!("`{}` is accepted", key.name)),
            false => Check::bad(
                "key",
                format!("`{}`: {}", key.name, key.message),
                "replace this key",
            ),
        })
        .collect();
    let spec = CandidateSpec {
        // A new image each time, not the one that an earlier check has paid for.
        candidate_id: uuid::Uuid::now_v7().simple().to_string(),
        backend: name.to_owned(),
        source: faces(system, "neutral", 1).await?.pop(),
        source_label: "neutral".to_owned(),
        target_label: "happy".to_owned(),
        prompt: "a portrait of a happy person smiling".to_owned(),
        exemplars: faces(system, "happy", exemplars).await?,
        ..CandidateSpec::default()
    };
    let started = std::time::Instant::now();
    let answer = client
        .generate(GenerateRequest { spec: Some(spec) })
        .await?;
    let candidate = answer.into_inner().candidate.unwrap_or_default();
    let provenance = candidate.provenance.clone().unwrap_or_default();
    checks.push(match (candidate.outcome(), &candidate.image) {
        (Outcome::Image, Some(image)) => Check::good(
            "test image",
            format!(
                "{} bytes from {} in {:.1} s for {:.4} US dollars",
                image.data.len(),
                provenance.backend_version,
                started.elapsed().as_secs_f64(),
                provenance.cost_usd
            ),
        ),
        (outcome, _) => Check::bad(
            "test image",
            format!("{}: {}", outcome.as_str_name(), candidate.message),
            "the server answers, but refuses this picture; try again or look at its terms",
        ),
    });
    Ok(checks)
}

/// Rendered faces of a class.
async fn faces(system: &System, label: &str, count: u32) -> Result<Vec<Image>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let request = RenderDatasetRequest {
        seed: 1,
        counts: [(label.to_owned(), count)].into(),
        size: 256,
    };
    let client = StudioServiceClient::new(system.generator.clone());
    let mut stream = saga_client::limited!(client)
        .render_dataset(request)
        .await?
        .into_inner();
    let mut images = Vec::new();
    while let Some(item) = stream.message().await? {
        images.extend(item.image);
    }
    Ok(images)
}
