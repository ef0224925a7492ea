//! Bad input through the command: it says what is wrong and where, exits with a failure, and nothing good is lost.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use saga_client::conformance::png_declaring;
use serde_json::Value;

const RECIPE: &str = include_str!("../../../services/all-in-one/tests/tiny.toml");

/// Runs the command with the arguments.
fn saga<S: AsRef<str>>(arguments: &[S]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_saga"))
        .args(arguments.iter().map(AsRef::as_ref))
        .args(["--device", "cpu", "--precision", "f32", "--json"])
        // Training threads that wait for each other starve where tests share the machine.
        .env("OMP_NUM_THREADS", "1")
        .output()
        .unwrap()
}

/// The command must fail with `code`, and say each of `words` on standard error.
fn fails<S: AsRef<str>>(arguments: &[S], code: i32, words: &[&str]) {
    let output = saga(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    let errors = text.split("error: ").nth(1).expect("an error is named");
    for word in words {
        assert!(errors.contains(word), "`{word}` is not in: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

/// A folder with a recipe and rendered images of the tiny recipe's classes.
struct Workshop(tempfile::TempDir);

impl Workshop {
    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tiny.toml"), RECIPE).unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        Self(folder)
    }

    /// With these images of each class.
    fn rendered(counts: [&str; 3]) -> Self {
        let workshop = Self::empty();
        let [neutral, happy, fear] = counts;
        let output = saga(&[
            "data",
            "studio",
            "--size",
            "64",
            "--count",
            neutral,
            "--count",
            happy,
            "--count",
            fear,
            "--out",
            &workshop.text("data"),
        ]);
        assert!(output.status.success(), "{output:?}");
        workshop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// The arguments of a run of `tiny.toml` on `data` into `out`, and more.
    fn run(&self, more: &[&str]) -> Vec<String> {
        let (recipe, data, out) = (self.text("tiny.toml"), self.text("data"), self.text("out"));
        let run = ["run", &recipe, "--data", &data, "--out", &out];
        run.iter()
            .chain(more)
            .map(|&text| text.to_owned())
            .collect()
    }

    fn stats(&self) -> Vec<String> {
        let data = self.text("data");
        let stats = ["data", "stats", &data, "--classes", "neutral,happy,fear"];
        stats.map(str::to_owned).to_vec()
    }

    /// Replaces a part of the recipe.
    fn change_recipe(&self, from: &str, to: &str) {
        assert!(RECIPE.contains(from), "the tiny recipe has no `{from}`");
        fs::write(self.path("tiny.toml"), RECIPE.replacen(from, to, 1)).unwrap();
    }
}

#[test]
fn an_empty_folder_is_named_with_what_it_needs() {
    let workshop = Workshop::empty();
    let data = workshop.text("data");
    fails(&workshop.stats(), 1, &[&data, "labels.csv"]);
    fails(&workshop.run(&[]), 1, &["import", &data, "labels.csv"]);
    let missing = workshop.text("nowhere");
    fails(
        &["data", "stats", &missing, "--classes", "happy,fear"],
        1,
        &[&missing, "No such file"],
    );
}

#[test]
fn a_missing_column_is_named_with_those_there_are() {
    let workshop = Workshop::empty();
    let labels = workshop.path("data/labels.csv");
    fs::write(&labels, "pth,emotion\nhappy/1.jpg,happy\n").unwrap();
    let words = ["labels.csv", "no column 'label'", "pth, emotion"];
    fails(&workshop.stats(), 1, &words);
    fails(&workshop.run(&[]), 1, &words);
    fs::write(&labels, "image,label\nhappy/1.jpg,happy\n").unwrap();
    fails(&workshop.stats(), 1, &["no column 'pth'", "image, label"]);
}

#[test]
fn bad_rows_are_reported_by_line_and_the_others_kept() {
    let workshop = Workshop::rendered(["neutral=6", "happy=5", "fear=4"]);
    let data = workshop.path("data");
    let good = fs::read(data.join(first_image(&data))).unwrap();
    fs::write(workshop.path("secret.jpg"), &good).unwrap();
    fs::write(data.join("cut.jpg"), &good[..good.len() / 2]).unwrap();
    fs::write(data.join("empty.jpg"), b"").unwrap();
    fs::write(data.join("bomb.png"), png_declaring(60_000, 60_000)).unwrap();
    fs::write(data.join("text.jpg"), b"no picture at all\n").unwrap();
    fs::write(data.join("bored.jpg"), &good).unwrap();
    let cases = [
        (
            "bored.jpg",
            "boredom",
            "UNKNOWN_LABEL",
            "neutral, happy, fear",
        ),
        ("../secret.jpg", "happy", "PATH_ESCAPES", "without '..'"),
        ("cut.jpg", "happy", "TRUNCATED", "truncated"),
        ("empty.jpg", "happy", "EMPTY_FILE", "0 bytes"),
        ("bomb.png", "happy", "TOO_MANY_PIXELS", "60000x60000"),
        ("text.jpg", "happy", "NOT_AN_IMAGE", "image"),
        ("gone.jpg", "happy", "MISSING_FILE", "no such file"),
    ];
    let mut labels = fs::read_to_string(data.join("labels.csv")).unwrap();
    let lines = labels.lines().count();
    for (path, label, ..) in cases {
        labels.push_str(&format!("{path},{label},someone\n"));
    }
    fs::write(data.join("labels.csv"), labels).unwrap();

    let output = saga(&workshop.stats());
    assert!(output.status.success(), "{output:?}");
    let stats: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(stats["imported"], 15, "{stats}");
    assert_eq!(stats["rejected"], cases.len(), "{stats}");
    assert_eq!(stats["classes"]["fear"], 4, "{stats}");
    let rows = stats["bad_rows"].as_array().unwrap();
    for ((row, (path, _, reason, message)), line) in rows.iter().zip(cases).zip(lines + 1..) {
        assert_eq!(row["path"], path);
        assert_eq!(row["reason"], reason, "{row}");
        assert_eq!(row["line"], line, "{row}");
        let told = row["message"].as_str().unwrap();
        assert!(told.contains(message), "`{message}` is not in: {row}");
    }
}

#[test]
fn a_class_with_one_image_does_not_stop_the_run() {
    let workshop = Workshop::rendered(["neutral=20", "happy=12", "fear=1"]);
    let output = saga(&workshop.run(&["--test-mode"]));
    assert!(output.status.success(), "{output:?}");
    let results: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(results["dataset"]["counts"]["fear"], 1);
}

#[test]
fn a_bad_recipe_is_refused_by_key_before_anything_begins() {
    let workshop = Workshop::rendered(["neutral=12", "happy=10", "fear=6"]);
    workshop.change_recipe("in_flight = 4", "in_fligth = 4");
    fails(&workshop.run(&[]), 1, &["in_fligth", "in_flight", "line"]);
    workshop.change_recipe("min = 0.35", "min = 1.5");
    let words = ["gates[0].thresholds.min", "1.5", "-1 to 1"];
    fails(&workshop.run(&[]), 1, &words);
    // The same command works once the recipe is mended.
    fs::write(workshop.path("tiny.toml"), RECIPE).unwrap();
    let output = saga(&workshop.run(&["--test-mode"]));
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn an_unknown_recipe_or_generator_is_named_with_those_there_are() {
    let workshop = Workshop::rendered(["neutral=12", "happy=10", "fear=6"]);
    let (data, out) = (workshop.text("data"), workshop.text("out"));
    let unknown = ["run", "emotions", "--data", &data, "--out", &out];
    fails(&unknown, 1, &["emotions", "emotion, studio"]);
    let words = ["pencil", "studio", "exemplar"];
    fails(&workshop.run(&["--generator", "pencil"]), 1, &words);
}

#[test]
fn an_address_that_nobody_listens_on_is_named() {
    let workshop = Workshop::empty();
    let nobody = "http://127.0.0.1:1";
    let mut arguments = workshop.run(&["--orchestrator-address", nobody]);
    let words = [
        "--label-store-address",
        "--generator-address",
        "--classifier-address",
        "or of none",
    ];
    fails(&arguments, 1, &words);
    for service in [
        "--label-store-address",
        "--generator-address",
        "--classifier-address",
    ] {
        arguments.extend([service.to_owned(), nobody.to_owned()]);
    }
    fails(&arguments, 1, &["127.0.0.1:1"]);
    assert!(!workshop.path("out/run.json").exists());
}

#[test]
fn resume_goes_on_with_the_same_run_only() {
    let workshop = Workshop::rendered(["neutral=12", "happy=10", "fear=6"]);
    let out = workshop.text("out");
    let resume = workshop.run(&["--test-mode", "--resume"]);
    fails(&resume, 1, &[&out, "no run to resume", "--resume"]);
    let first = saga(&workshop.run(&["--test-mode"]));
    assert!(first.status.success(), "{first:?}");
    let run_file = fs::read(workshop.path("out/run.json")).unwrap();

    fails(
        &workshop.run(&["--test-mode"]),
        1,
        &[&out, "--resume", "--out"],
    );
    let other = workshop.run(&["--test-mode", "--resume", "--seed", "9"]);
    fails(&other, 1, &[&out, "seed was null, not 9", "--out"]);
    assert_eq!(fs::read(workshop.path("out/run.json")).unwrap(), run_file);
    let again = saga(&resume);
    assert_eq!(again.stdout, first.stdout);

    fs::write(workshop.path("out/run.json"), "{").unwrap();
    fails(&resume, 1, &["run.json", "damaged"]);
}

#[test]
fn mistakes_on_the_command_line_are_explained() {
    fails(&["run", "studio"], 2, &["--data", "--out"]);
    fails(
        &["data", "studio", "--out", "x", "--count", "fear"],
        2,
        &["LABEL=N"],
    );
    let workshop = Workshop::empty();
    let missing = workshop.text("none.jpg");
    fails(
        &["classify", &missing, "--model", &workshop.text("data")],
        1,
        &[&workshop.text("data"), "model.safetensors"],
    );
}

#[test]
fn a_variable_for_the_services_does_not_stop_an_export() {
    let workshop = Workshop::empty();
    let (model, out) = (workshop.text("data"), workshop.text("out.pth"));
    let output = Command::new(env!("CARGO_BIN_EXE_saga"))
        .args(["export", &model, "--to", "pth", "--out", &out])
        .env("SAGA_PRECISION", "bf16")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    // The folder holds no model, which is all that is wrong.
    assert!(
        text.contains(&model) && !text.contains("--precision"),
        "{text}"
    );
}

/// Path of the first image of a rendered data set.
fn first_image(data: &Path) -> String {
    let labels = fs::read_to_string(data.join("labels.csv")).unwrap();
    let row = labels.lines().nth(1).unwrap();
    row.split(',').next().unwrap().to_owned()
}

#[test]
fn runs_that_cannot_be_judged_together_say_what_to_do() {
    let workshop = Workshop::empty();
    let runs = ["one", "two"].map(|run| workshop.text(run));
    let pooled = workshop.text("pooled");
    let pool =
        |code, words: &[&str]| fails(&["pool", &runs[0], &runs[1], "--out", &pooled], code, words);
    pool(1, &["eval_answers.json", "saga eval --out", "one"]);
    for (run, steps) in runs.iter().zip([10, 20]) {
        fs::create_dir(run).unwrap();
        let answers = serde_json::json!({
            "run_id": run, "recipe": "tiny", "classes": ["a"], "train_images": [1], "seeds": [1], "steps": steps,
            "images": [{"id": "1", "subject": "", "truth": 0}], "read_again": false, "earlier_reads": [], "arms": [],
        });
        fs::write(
            Path::new(run).join("eval_answers.json"),
            answers.to_string(),
        )
        .unwrap();
    }
    pool(1, &["steps of run", "are 20", "--steps"]);
    fs::write(Path::new(&runs[1]).join("eval_answers.json"), "{").unwrap();
    pool(1, &["is not what saga eval writes", "two"]);
    assert!(!Path::new(&pooled).exists());
    fails(
        &["pool", &runs[0], "--out", &pooled],
        2,
        &["2 values required"],
    );
}
