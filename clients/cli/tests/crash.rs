//! Crash safety of the whole loop: a run that is killed with SIGKILL at random moments and resumed each time ends with
//! the images and totals of an undisturbed one.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use fake_api::{Asked, FakeApi, Settings};
use generator::studio::{self, FaultRates};
use label_store::{Audit, Clock, Config, Store};
use serde_json::Value;

const KILLS: usize = 20;
const IN_FLIGHT: usize = 2;
/// Of an image of the generator's default model.
const PRICE_USD: f64 = 0.039;

#[test]
fn a_run_killed_twenty_times_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    killed_twenty_times(folder.path(), &[], 0.0);
}

#[test]
fn a_run_that_pays_for_candidates_killed_twenty_times_pays_for_none_twice() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let api = runtime.block_on(FakeApi::start(Settings {
        latency: Duration::from_millis(20),
        painter: Arc::new(paint),
        ..Settings::default()
    }));
    let config = folder.path().join("config");
    fs::create_dir(&config).unwrap();
    let keys = config.join("keys.toml");
    let limits = "requests_per_minute = 1000000\nrequests_per_day = 1000000";
    fs::write(
        &keys,
        format!("[[keys]]\nname = \"a\"\nkey = \"a\"\n{limits}\n"),
    )
    .unwrap();
    let endpoint = api.gemini_endpoint();
    let gemini = format!(
        "[gemini]\nendpoint = \"{endpoint}\"\nkeys_file = \"{}\"",
        keys.display()
    );
    fs::write(config.join("generator.toml"), gemini).unwrap();
    let config = config.to_str().unwrap();
    let rounds = killed_twenty_times(
        folder.path(),
        &["--generator", "gemini", "--config-dir", config],
        PRICE_USD,
    );
    // The same picture is asked for once in each round and in the calm run, and once more where a kill hit its answer.
    let mut asked: BTreeMap<_, usize> = BTreeMap::new();
    for request in api.asked() {
        *asked
            .entry((request.prompt, request.source, request.seed))
            .or_default() += 1;
    }
    let again: usize = asked.values().map(|times| times - (1 + rounds)).sum();
    println!(
        "{} pictures, {again} asked for again after a kill had hit their answer",
        asked.len()
    );
    assert!(again <= KILLS * IN_FLIGHT, "{again} requests were repeated");
    assert!(asked.values().all(|times| *times <= 1 + rounds + 2));
}

/// The studio's edit, faults and all, as the picture of a paid answer.
fn paint(asked: &Asked) -> Vec<u8> {
    let is_target = |label: &&str| asked.prompt.contains(&format!("expression to {label}:"));
    let target = ["neutral", "happy", "fear"]
        .into_iter()
        .find(is_target)
        .unwrap();
    let source = asked.source.as_deref().unwrap();
    let (target, seed) = (target.parse().unwrap(), asked.seed.unwrap());
    let edited = studio::edit_image(source, target, seed, &FaultRates::default());
    edited.unwrap().jpeg
}

/// Kills and resumes runs until there were twenty kills; how many runs that took, beside the calm one. A candidate costs
/// `price` US dollars.
fn killed_twenty_times(folder: &Path, arguments: &[&str], price: f64) -> usize {
    let data = folder.join("data");
    render(&data);
    let recipe = write_recipe(folder);
    let start = |out: &Path, resume| run(&recipe, &data, out, resume, arguments);
    let calm = folder.join("calm");
    let pace = undisturbed(start(&calm, false));
    let (wanted, calm_cost) = Outcome::of(&calm);
    assert!(wanted.admitted.len() > 20, "too few to prove anything");

    // Where the kills of one run end before there are enough, another run takes the rest.
    let mut random = 0x5a6a;
    let (mut kills, mut rounds) = (0, 0);
    while kills < KILLS {
        rounds += 1;
        let wild = folder.join(format!("wild-{rounds}"));
        let before = kills;
        while kills < KILLS {
            let mut child = start(&wild, wild.join("run.json").exists());
            if ends_within(&mut child, pace.delay(&mut random)) {
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
        }
        // The last attempt is left alone, so that each round ends whole.
        undisturbed(start(&wild, wild.join("run.json").exists()));
        let (outcome, cost) = Outcome::of(&wild);
        assert!(
            outcome == wanted,
            "round {rounds}, kill {kills}: {outcome:#?}, not {wanted:#?}"
        );
        // Nobody learns what became of a request whose answer a kill hit, so it counts as paid.
        let hit = (cost - calm_cost) / price.max(f64::MIN_POSITIVE);
        let most = ((kills - before) * IN_FLIGHT) as f64;
        assert!(
            (-1e-6..=most + 1e-6).contains(&hit),
            "{cost} US dollars, not {calm_cost}"
        );
        nothing_lost_or_left(&wild);
        println!("round {rounds}: {} kills", kills - before);
        assert!(kills > before, "round {rounds} was never killed");
    }
    rounds
}

fn saga(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saga"));
    command
        .args(arguments)
        .args(["--device", "cpu", "--precision", "f32", "--json"])
        // Training threads that wait for each other starve where tests share the machine.
        .env("OMP_NUM_THREADS", "1")
        .stdout(Stdio::null());
    command
}

fn render(data: &Path) {
    let mut command = saga(&["data", "studio", "--size", "64"]);
    for count in ["neutral=90", "happy=30", "fear=14"] {
        command.args(["--count", count]);
    }
    assert!(command.arg("--out").arg(data).status().unwrap().success());
}

/// The tiny recipe with more candidates, a few at a time, so that there is something to interrupt.
fn write_recipe(folder: &Path) -> PathBuf {
    let tiny = include_str!("../../../services/all-in-one/tests/tiny.toml");
    let mut text = tiny.to_owned();
    for (from, to) in [
        (
            "max_synthetic_fraction = 0.60",
            "max_synthetic_fraction = 0.85",
        ),
        ("in_flight = 4", &format!("in_flight = {IN_FLIGHT}")),
    ] {
        assert!(text.contains(from), "the tiny recipe has no `{from}`");
        text = text.replace(from, to);
    }
    let path = folder.join("crash.toml");
    fs::write(&path, text).unwrap();
    path
}

fn run(recipe: &Path, data: &Path, out: &Path, resume: bool, arguments: &[&str]) -> Child {
    let mut command = saga(&["run", recipe.to_str().unwrap()]);
    command.arg("--data").arg(data).arg("--out").arg(out);
    command.args(arguments);
    if resume {
        command.arg("--resume");
    }
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// How long a run takes to its first event and in all.
struct Pace {
    start: Duration,
    whole: Duration,
}

impl Pace {
    /// From the start of the process to somewhat into the work, by a fixed sequence, so that a failure can be repeated;
    /// what a kill hits is up to the machine.
    fn delay(&self, random: &mut u64) -> Duration {
        *random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let share = (*random >> 33) as f64 / f64::from(1_u32 << 31);
        let longest = self.start + (self.whole - self.start) / 3;
        longest.mul_f64(share)
    }
}

/// Lets a run end by itself; it must succeed.
fn undisturbed(mut child: Child) -> Pace {
    let begun = Instant::now();
    let mut start = None;
    let mut log = String::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        start.get_or_insert_with(|| begun.elapsed());
        log.push_str(&line.unwrap());
        log.push('\n');
    }
    assert!(child.wait().unwrap().success(), "the run failed: {log}");
    Pace {
        start: start.unwrap(),
        whole: begun.elapsed(),
    }
}

/// Whether the run ends before `delay` is over; then it must succeed.
fn ends_within(child: &mut Child, delay: Duration) -> bool {
    // Whoever does not read a pipe stops the one who writes.
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let log = thread::spawn(move || stderr.lines().map_while(Result::ok).collect::<Vec<_>>());
    let deadline = Instant::now() + delay;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "the run failed: {:?}", log.join());
            return true;
        }
        thread::sleep(Duration::from_millis(2));
    }
    false
}

/// What two runs of the same seed have in common.
#[derive(Debug, PartialEq)]
struct Outcome {
    dataset: Value,
    golden: Value,
    plan: Value,
    candidates: Value,
    guard: Value,
    /// Label, source and BLAKE3, without the signature, of the admitted images.
    admitted: BTreeSet<(String, String, String)>,
}

impl Outcome {
    /// Reads it from the results of a run, in which no slot and no image may be admitted twice, with what the run cost.
    fn of(out: &Path) -> (Self, f64) {
        let mut results: Value =
            serde_json::from_slice(&fs::read(out.join("results.json")).unwrap()).unwrap();
        let lines = fs::read_to_string(out.join("dataset/synthetic_meta.jsonl")).unwrap();
        let (mut admitted, mut slots) = (BTreeSet::new(), BTreeSet::new());
        for line in lines.lines() {
            let image: Value = serde_json::from_str(line).unwrap();
            let text = |pointer: &str| image.pointer(pointer).unwrap().as_str().unwrap().to_owned();
            assert!(slots.insert(text("/slot_id")), "admitted twice: {line}");
            let key = (
                text("/label"),
                text("/source/pth"),
                text("/unsigned_blake3"),
            );
            assert!(admitted.insert(key), "admitted twice: {line}");
            assert!(out.join("dataset").join(text("/file_name")).is_file());
        }
        let accepted = results["candidates"]["accepted"].as_u64();
        assert_eq!(accepted, Some(admitted.len() as u64));
        let cost = results["candidates"]["cost_usd"].take().as_f64().unwrap();
        let outcome = Self {
            dataset: results["dataset"].clone(),
            golden: results["golden"].clone(),
            plan: results["plan"].clone(),
            candidates: results["candidates"].clone(),
            guard: results["guard"].clone(),
            admitted,
        };
        (outcome, cost)
    }
}

/// Every row has its blob and every blob its row.
fn nothing_lost_or_left(out: &Path) {
    let mut config = Config::default();
    config.store.data_dir = out.join("state");
    let blobs = config.store.data_dir.join("blobs");
    // Opening the store sweeps orphans away: their number is what it takes.
    let before = files(&blobs);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Store::open(config, Clock::System).await.unwrap();
        assert_eq!(store.audit().await.unwrap(), Audit::default());
        store.close().await;
    });
    assert!(!before.is_empty());
    assert_eq!(files(&blobs), before, "orphans");
}

/// Every file below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert(entry.path());
        }
    }
    found
}
