//! `saga run`: one execution of the loop, with progress, resume, and the report at the end.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use orchestrator::recipe::with_texts;
use saga_proto::{
    labelstore::v1::{
        ExportRunRequest, ListCandidatesRequest, ListCandidatesResponse,
        dataset_service_client::DatasetServiceClient, run_service_client::RunServiceClient,
    },
    orchestrator::v1::{
        CancelRunRequest, StartRunRequest, WatchRunRequest,
        orchestrator_service_client::OrchestratorServiceClient, start_run_request::Recipe,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::follow::follow;
use crate::{
    args::{Global, RunArgs},
    output,
    report::{self, Results, arms, calibration, candidates, comparison, memorisation},
    system::{Folders, System, path_text},
};

/// What `--resume` needs to go on with a run: kept as `run.json` in its folder.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct RunFile {
    run_id: String,
    recipe: String,
    data: String,
    generator: Option<String>,
    seed: Option<u64>,
    test_mode: bool,
    /// May change from start to start.
    #[serde(default)]
    max_cost: Option<f64>,
}

const RUN_FILE: &str = "run.json";

pub async fn run(global: &Global, args: RunArgs) -> Result<()> {
    let started = Instant::now();
    let run = open_run_file(&args)?;
    let system = match begin(global, &args.out, &run).await {
        Ok(system) => system,
        Err(error) => {
            // Nothing has begun, so once the cause is mended the same command must do.
            if !args.resume {
                fs::remove_file(args.out.join(RUN_FILE)).context("cannot withdraw the run")?;
            }
            return Err(error);
        }
    };
    let finished = watch(global, &system, &run.run_id).await;
    let results = match finished {
        Ok(Some(results)) => results,
        Ok(None) => {
            system.stop().await?;
            bail!("interrupted; nothing is lost: the same command with --resume goes on");
        }
        Err(error) => {
            // The services still drain, so that what was in flight is kept for --resume.
            system.stop().await?;
            return Err(error);
        }
    };
    saga_export::write(
        &args.out.join("results.json"),
        serde_json::to_string_pretty(&results)?,
    )?;
    let candidates = sample_candidates(&system, &run.run_id).await?;
    let figures = report::parse(&results)?;
    let trainings = report::training::read(&Folders::below(&args.out).models);
    let html = report::html(&figures, &candidates, &trainings)?;
    saga_export::write(&args.out.join("report.html"), html)?;
    if let Some(found) = &figures.calibration {
        calibration::write(&args.out, found)?;
    }
    let dataset = args.out.join("dataset");
    export(&system, &run.run_id, &dataset, args.crop_faces).await?;
    system.stop().await?;
    if global.json {
        return output::print_json(&results);
    }
    show(&args.out, &figures, started.elapsed());
    Ok(())
}

/// Reads the run file of `--resume`, or writes that of a new run.
fn open_run_file(args: &RunArgs) -> Result<RunFile> {
    let path = args.out.join(RUN_FILE);
    let wanted = RunFile {
        run_id: format!("run-{}", uuid::Uuid::now_v7().simple()),
        recipe: args.recipe.clone(),
        data: path_text(&args.data)?,
        generator: args.generator.clone(),
        seed: args.seed,
        test_mode: args.test_mode,
        max_cost: args.max_cost,
    };
    match fs::read_to_string(&path) {
        Ok(text) => {
            let known = parse_run_file(&path, &text)?;
            if !args.resume {
                bail!(
                    "`{}` holds a run already; add --resume to go on with it, or choose another --out",
                    args.out.display()
                );
            }
            let wanted = RunFile {
                run_id: known.run_id.clone(),
                max_cost: wanted.max_cost.or(known.max_cost),
                ..wanted
            };
            let known = RunFile {
                max_cost: wanted.max_cost,
                ..known
            };
            if known != wanted {
                bail!(
                    "the run in `{}` was started with other arguments: {}; use those, or another --out",
                    args.out.display(),
                    differences(&known, &wanted)?
                );
            }
            write_run_file(&path, &known)?;
            Ok(known)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if args.resume {
                bail!(
                    "`{}` holds no run to resume; leave out --resume to start one, or mend --out",
                    args.out.display()
                );
            }
            fs::create_dir_all(&args.out)
                .with_context(|| format!("cannot create `{}`", args.out.display()))?;
            write_run_file(&path, &wanted)?;
            Ok(wanted)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    }
}

/// The id of the run in a folder of results.
pub(super) fn id_in(out: &Path) -> Result<String> {
    let path = out.join(RUN_FILE);
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read `{}`; give the folder of a run that `saga run` or `saga demo` wrote",
            path.display()
        )
    })?;
    Ok(parse_run_file(&path, &text)?.run_id)
}

fn parse_run_file(path: &Path, text: &str) -> Result<RunFile> {
    serde_json::from_str(text).with_context(|| {
        format!(
            "`{}` is damaged; remove the folder to start anew",
            path.display()
        )
    })
}

fn write_run_file(path: &Path, run: &RunFile) -> Result<()> {
    saga_export::write(path, serde_json::to_string_pretty(run)?)?;
    Ok(())
}

/// Each argument that differs, with its value then and now.
fn differences(known: &RunFile, wanted: &RunFile) -> Result<String> {
    let (known, wanted) = (serde_json::to_value(known)?, serde_json::to_value(wanted)?);
    let differs = |key: &&str| known.get(key) != wanted.get(key);
    let keys = ["recipe", "data", "generator", "seed", "test_mode"];
    let difference = |key| format!("{key} was {}, not {}", known[key], wanted[key]);
    let differences: Vec<String> = keys.into_iter().filter(differs).map(difference).collect();
    Ok(differences.join(", "))
}

/// A recipe's name, or the text of a recipe file.
pub(super) fn recipe(argument: &str) -> Result<Recipe> {
    let path = Path::new(argument);
    if path.extension().is_none_or(|extension| extension != "toml") {
        return Ok(Recipe::RecipeName(argument.to_owned()));
    }
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read the recipe `{argument}`"))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    Ok(Recipe::RecipeToml(with_texts(&text, folder)?))
}

/// Opens the services and starts the run, or goes on with it.
async fn begin(global: &Global, out: &Path, run: &RunFile) -> Result<System> {
    let recipe = recipe(&run.recipe)?;
    let system = System::open(global, Folders::below(out)).await?;
    let request = StartRunRequest {
        run_id: run.run_id.clone(),
        recipe: Some(recipe),
        dataset_path: run.data.clone(),
        generator: run.generator.clone().unwrap_or_default(),
        seed: run.seed,
        test_mode: run.test_mode,
        // A folder of results holds one run, so its models need no prefix.
        models_prefix: system.local().map(|_| String::new()),
        max_cost_usd: run.max_cost,
    };
    let client = OrchestratorServiceClient::new(system.orchestrator.clone());
    if let Err(refused) = saga_client::limited!(client).start_run(request).await {
        system.stop().await?;
        return Err(refused.into());
    }
    Ok(system)
}

/// The results of a run; `None` where the user interrupted it, and it was cancelled.
async fn watch(global: &Global, system: &System, run_id: &str) -> Result<Option<Value>> {
    let mut client =
        saga_client::limited!(OrchestratorServiceClient::new(system.orchestrator.clone()));
    let run_id = run_id.to_owned();
    let request = WatchRunRequest {
        run_id: run_id.clone(),
    };
    let events = client.watch_run(request).await?.into_inner();
    let Some(results) = follow(global, events).await? else {
        client.cancel_run(CancelRunRequest { run_id }).await?;
        return Ok(None);
    };
    let results = serde_json::from_str(&results).context("the results are not JSON")?;
    Ok(Some(results))
}

/// Candidates with their images, for the report's grid.
async fn sample_candidates(system: &System, run_id: &str) -> Result<Vec<ListCandidatesResponse>> {
    let mut client = saga_client::limited!(RunServiceClient::new(system.label_store.clone()));
    let request = ListCandidatesRequest {
        run_id: run_id.to_owned(),
        limit: report::SAMPLES,
        include_images: true,
    };
    let mut stream = client.list_candidates(request).await?.into_inner();
    let mut candidates = Vec::new();
    while let Some(candidate) = stream.next().await {
        candidates.push(candidate?);
    }
    Ok(candidates)
}

async fn export(
    system: &System,
    run_id: &str,
    directory: &Path,
    face_side: Option<u32>,
) -> Result<()> {
    let request = ExportRunRequest {
        run_id: run_id.to_owned(),
        directory: path_text(directory)?,
        face_side,
    };
    let mut stream = DatasetServiceClient::new(system.label_store.clone())
        .export_run(request)
        .await?
        .into_inner();
    while let Some(progress) = stream.next().await {
        progress?;
    }
    Ok(())
}

fn show(out: &Path, results: &Results, took: Duration) {
    if let Some(table) = arms::table(results) {
        println!("{table}");
    }
    println!("{}", candidates::sentence(results));
    if let Some(sentence) = calibration::sentence(results) {
        println!("{sentence}");
    }
    if let Some(sentence) = memorisation::sentence(results) {
        println!("{sentence}");
    }
    println!("{}", comparison::table(results));
    println!("{}", comparison::sentence(results));
    println!(
        "{:.0} s in all. Written below {}:",
        took.as_secs_f64(),
        out.display()
    );
    let mut written: Vec<(PathBuf, &str)> = vec![
        (
            out.join("report.html"),
            "the report, one page that works offline",
        ),
        (out.join("results.json"), "every figure"),
        (
            out.join("dataset"),
            "the augmented data set: images, CSV files, status.json",
        ),
        (out.join("models"), "the models that the run trained"),
    ];
    if results.calibration.is_some() {
        let gates = out.join("gates.toml");
        written.push((gates, "the gates with the thresholds chosen"));
    }
    for (path, what) in written {
        println!("  {:<32} {what}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(out: &Path, resume: bool, seed: u64) -> RunArgs {
        RunArgs {
            recipe: "studio".to_owned(),
            data: PathBuf::from("data"),
            out: out.to_owned(),
            generator: None,
            seed: Some(seed),
            resume,
            test_mode: false,
            max_cost: None,
            crop_faces: None,
            estimate: false,
        }
    }

    #[test]
    fn a_folder_holds_one_run() {
        let folder = tempfile::tempdir().unwrap();
        let none = open_run_file(&args(folder.path(), true, 1)).unwrap_err();
        assert!(none.to_string().contains("no run to resume"), "{none}");
        let first = open_run_file(&args(folder.path(), false, 1)).unwrap();
        let again = open_run_file(&args(folder.path(), false, 1)).unwrap_err();
        assert!(again.to_string().contains("--resume"), "{again}");
        assert_eq!(open_run_file(&args(folder.path(), true, 1)).unwrap(), first);
        let other = open_run_file(&args(folder.path(), true, 2)).unwrap_err();
        assert!(other.to_string().contains("seed was 1, not 2;"), "{other}");
    }

    #[test]
    fn a_recipe_is_a_name_or_a_file() {
        assert_eq!(
            recipe("emotion").unwrap(),
            Recipe::RecipeName("emotion".to_owned())
        );
        let missing = recipe("nowhere.toml").unwrap_err();
        assert!(missing.to_string().contains("nowhere.toml"), "{missing}");
    }
}
