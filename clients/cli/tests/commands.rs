//! What comes after a run: its folder calibrated, evaluated, exported, published and listed by the commands themselves.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(
    dead_code,
    reason = "nothing goes wrong here, which it can be told to let happen"
)]
#[path = "../../../services/lib/export/tests/hub/server.rs"]
mod server;

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use server::{Hub, TOKEN};

const RECIPE: &str = include_str!("../../../services/all-in-one/tests/tiny.toml");

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saga"));
    command
        .args(arguments)
        .args(["--device", "cpu", "--json"])
        .env("SAGA_PRECISION", "f32")
        // Training threads that wait for each other starve where tests share the machine.
        .env("OMP_NUM_THREADS", "1");
    command
}

/// What the command prints; it must succeed.
fn saga(arguments: &[&str]) -> Value {
    let output = command(arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {complaint}");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The folder of a finished run of the tiny recipe.
struct Run {
    folder: tempfile::TempDir,
    results: Value,
}

impl Run {
    fn finished() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (recipe, data) = (path("tiny.toml"), path("data"));
        // Enough images to calibrate with.
        let usual = "calibration_fraction = 0.1";
        assert!(RECIPE.contains(usual), "the tiny recipe has no `{usual}`");
        let text = RECIPE.replace(usual, "calibration_fraction = 0.3");
        fs::write(&recipe, text).unwrap();
        let studio = ["data", "studio", "--size", "64", "--out", &data];
        let counts = ["--count=neutral=90", "--count=happy=50", "--count=fear=40"];
        saga(&[&studio[..], &counts].concat());
        let results = saga(&["run", &recipe, "--data", &data, "--out", &path("run")]);
        Self { folder, results }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn figure(&self, pointer: &str) -> f64 {
        let figure = self.results.pointer(pointer).and_then(Value::as_f64);
        figure.unwrap_or_else(|| panic!("{pointer} of {}", self.results))
    }

    /// Real images that the models trained on.
    fn train(&self) -> f64 {
        let splits = self.results["dataset"]["splits"].as_object().unwrap();
        let train = splits
            .values()
            .map(|split| split["train"].as_f64().unwrap());
        train.sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_run_is_calibrated_evaluated_exported_published_and_listed() {
    let run = Run::finished();
    the_report_tells_the_records_figures(&run);
    calibrated(&run);
    evaluated(&run);
    exported(&run);
    a_full_disk_keeps_the_old_export(&run);
    published(&run).await;
    listed(&run);
}

fn the_report_tells_the_records_figures(run: &Run) {
    assert_eq!(run.results, json(&run.path("run/results.json")));
    let page = fs::read_to_string(run.path("run/report.html")).unwrap();
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let accepted = run.figure("/candidates/accepted");
    assert!(accepted > 0.0);
    let mut told = vec![
        format!("{} train, ", run.train()),
        format!(
            "are synthetic ({})",
            percent(accepted / (run.train() + accepted))
        ),
    ];
    for model in ["baseline", "augmented", "clip"] {
        let record = json(&run.path(&format!("run/models/{model}/training.json")));
        let share = |key: &str| percent(record[key].as_f64().unwrap());
        told.push(format!(
            "<tr><td>{model}</td><td>{} of {}</td><td>{}</td><td>{}</td>",
            record["best_epoch"],
            record["epochs"].as_array().unwrap().len(),
            share("val_macro_f1"),
            share("val_accuracy")
        ));
    }
    for text in told {
        assert!(page.contains(&text), "{text}");
    }
}

fn calibrated(run: &Run) {
    let out = run.text("run");
    let promise = ["--max-bad-accepts", "0.5", "--confidence", "0.7"];
    let printed = saga(&[&["calibrate", "--out", &out], &promise[..]].concat());
    assert_eq!(printed, json(&run.path("run/calibration.json")));
    assert_eq!(printed["run_id"], run.results["run_id"]);
    assert_eq!(printed["promise"]["max_bad_accepts"], 0.5);
    let classes = printed["classes"].as_object().unwrap();
    assert_eq!(classes.len(), 3, "{printed}");
    let certified = classes.values().filter(|class| class["chosen"].is_object());
    assert!(certified.count() > 0, "{printed}");
    let gates = fs::read_to_string(run.path("run/gates.toml")).unwrap();
    assert_eq!(printed["gates_toml"], gates);
    assert!(gates.contains("[[gates]]"), "{gates}");
}

fn evaluated(run: &Run) {
    let out = run.text("run");
    let arms = ["--arms", "plain,gated", "--seeds", "1", "--steps", "4"];
    let printed = saga(&[&["eval", "--out", &out], &arms[..]].concat());
    assert_eq!(printed, json(&run.path("run/eval.json")));
    assert_eq!(printed["runs"], serde_json::json!([run.results["run_id"]]));
    assert_eq!(printed["steps"], 4);
    let names: Vec<_> = printed["arms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arm| &arm["name"])
        .collect();
    assert_eq!(names, ["plain", "gated"]);
    let page = fs::read_to_string(run.path("run/eval.html")).unwrap();
    // As HTML writes an apostrophe.
    let reason = printed["reason"].as_str().unwrap().replace('\'', "&#x27;");
    assert!(page.contains(&reason), "{printed}");
    let answers = json(&run.path("run/eval_answers.json"));
    assert_eq!(answers["run_id"], run.results["run_id"]);
}

fn exported(run: &Run) {
    let model = run.text("run/models/augmented");
    let onnx = run.text("onnx");
    let printed = saga(&["export", &model, "--to", "onnx", "--out", &onnx]);
    let file = run.path("onnx/model.onnx");
    assert_eq!(printed["files"][0]["path"], file.to_str().unwrap());
    assert_eq!(printed["files"][0]["bytes"], file.metadata().unwrap().len());
    assert!(printed["drift"].as_f64().unwrap() <= 1e-3, "{printed}");

    let pth = run.text("model.pth");
    saga(&["export", &model, "--to", "pth", "--out", &pth]);
    // What it holds is read back by the command that takes such files in.
    let again = run.text("again");
    let labels = ["--labels", "neutral,happy,fear"];
    let config = run.text("run/models/augmented/config.json");
    let preprocessor = run.text("run/models/augmented/preprocessor_config.json");
    let described = ["--config", &config, "--preprocessor", &preprocessor];
    saga(
        &[
            &["model", "import", &pth, "--out", &again],
            &labels[..],
            &described,
        ]
        .concat(),
    );

    let (hub, out) = (run.text("hub"), run.text("run"));
    saga(&[
        "export",
        &model,
        "--to",
        "huggingface",
        "--run",
        &out,
        "--out",
        &hub,
    ]);
    let card = fs::read_to_string(run.path("hub/README.md")).unwrap();
    let record = json(&run.path("run/models/augmented/training.json"));
    let accepted = run.figure("/candidates/accepted");
    for text in [
        format!("| accuracy | {:.4} |", run.figure("/augmented/accuracy")),
        format!("macro F1 {:.4}.", run.figure("/augmented/macro_f1")),
        format!(
            "{} real images and {accepted} synthetic ones ({:.1} %), made by studio",
            run.train(),
            100.0 * accepted / (run.train() + accepted)
        ),
        format!(
            "best epoch {}: accuracy {:.4}",
            record["best_epoch"],
            record["val_accuracy"].as_f64().unwrap()
        ),
        record["dataset_hash"].as_str().unwrap().to_owned(),
        run.results["run_id"].as_str().unwrap().to_owned(),
    ] {
        assert!(card.contains(&text), "{text}\n{card}");
    }
}

/// Files may have 10 KiB at most, as on a disk that has no more.
fn a_full_disk_keeps_the_old_export(run: &Run) {
    let (model, onnx) = (run.text("run/models/augmented"), run.text("onnx"));
    let old = fs::read(run.path("onnx/model.onnx")).unwrap();
    assert!(old.len() > 20_000, "{}", old.len());
    let saga = command(&["export", &model, "--to", "onnx", "--out", &onnx]);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", r#"trap "" XFSZ; ulimit -f 20; exec "$0" "$@""#])
        .arg(saga.get_program())
        .args(saga.get_args());
    let output = limited.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{text}");
    assert!(
        text.contains("onnx") && text.contains("File too large"),
        "{text}"
    );
    assert_eq!(fs::read(run.path("onnx/model.onnx")).unwrap(), old);
    assert_eq!(fs::read_dir(run.path("onnx")).unwrap().count(), 1);
}

async fn published(run: &Run) {
    let hub = Hub::start().await;
    let (folder, token) = (run.text("hub"), run.text("token"));
    fs::write(&token, TOKEN).unwrap();
    let publish = [
        "publish",
        &folder,
        "lab/vit",
        "--endpoint",
        &hub.endpoint,
        "--token-file",
        &token,
    ];
    let printed = saga(&publish);
    assert_eq!(
        printed["commit"],
        format!("{}/lab/vit/commit/1", hub.endpoint)
    );
    {
        let kept = hub.kept.lock().unwrap();
        let card = fs::read(run.path("hub/README.md")).unwrap();
        let weights = fs::read(run.path("hub/model.safetensors")).unwrap();
        let arrived = |name: &str| match kept.large.get(name) {
            Some(oid) => kept.objects[oid].clone(),
            None => kept.files[name].clone(),
        };
        assert_eq!(arrived("README.md"), card);
        assert_eq!(arrived("model.safetensors"), weights);
    }
    let again = saga(&publish);
    assert_eq!(again["sent"], serde_json::json!([]), "{again}");
}

/// Ends with the test.
struct Services(Child);

impl Drop for Services {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn listed(run: &Run) {
    let up = command(&["up", "--out", &run.text("run"), "--port", "0"])
        .stdout(Stdio::piped())
        .spawn();
    let mut services = Services(up.unwrap());
    // Its addresses, one object; it ends when it is told to.
    let mut printed = Vec::new();
    let mut stdout = services.0.stdout.take().unwrap();
    let addresses: Value = loop {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        printed.extend(byte);
        if let Ok(whole) = serde_json::from_slice(&printed) {
            break whole;
        }
    };
    let address = addresses["label-store"].as_str().unwrap();
    let models = saga(&["model", "registry", "list", "tiny", "--address", address]);
    let revisions: Vec<_> = models
        .as_array()
        .unwrap()
        .iter()
        .map(|model| &model["revision"])
        .collect();
    // The newest first.
    let trained = &run.results["model_revisions"];
    assert_eq!(
        revisions,
        [&trained["augmented"], &trained["baseline"]],
        "{models}"
    );
    assert_eq!(
        models[0]["lineage"]["synthetic_run_id"],
        run.results["run_id"]
    );
}
