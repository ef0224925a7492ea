//! Commands about remote backends, against a local server that behaves like theirs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use fake_api::{FakeApi, Fault, Settings};
use serde_json::Value;

fn saga(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_saga"))
        .args(arguments)
        .args([
            "--device",
            "cpu",
            "--precision",
            "f32",
            "--json",
            "--config-dir",
        ])
        .arg(folder)
        .env_remove("GEMINI_API_KEY")
        .output()
        .unwrap()
}

fn configure(folder: &Path, api: &FakeApi) {
    let keys = folder.join("keys.toml");
    let entry = |name: &str| {
        format!("[[keys]]\nname = \"{name}\"\nkey = \"secret-{name}\"\nrequests_per_day = 500\n")
    };
    fs::write(&keys, entry("work") + &entry("spare")).unwrap();
    let (endpoint, keys) = (api.gemini_endpoint(), keys.display());
    let text = format!("[gemini]\nendpoint = \"{endpoint}\"\nkeys_file = \"{keys}\"\n");
    fs::write(folder.join("generator.toml"), text).unwrap();
}

fn checks(output: &Output) -> Vec<(String, bool, String)> {
    let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
    let one = |check: &Value| {
        (
            text(check, "check"),
            check["ok"].as_bool().unwrap(),
            text(check, "found"),
        )
    };
    checks.as_array().unwrap().iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_checks_keys_and_makes_one_image() {
    let folder = tempfile::tempdir().unwrap();
    let api = FakeApi::start(Settings::default()).await;
    configure(folder.path(), &api);
    let output = saga(folder.path(), &["doctor", "--generator", "gemini"]);
    let found = checks(&output);
    let keys: Vec<_> = found.iter().filter(|(check, ..)| check == "key").collect();
    assert!(
        keys.len() == 2 && keys.iter().all(|(_, ok, _)| *ok),
        "{found:?}"
    );
    let (_, ok, image) = found
        .iter()
        .find(|(check, ..)| check == "test image")
        .unwrap();
    assert!(
        *ok && image.contains("gemini-2.5-flash-image") && image.contains("0.0390 US dollars"),
        "{image}"
    );
    assert_eq!(api.asked().len(), 1);

    api.change(|settings| settings.bad_keys = ["secret-spare".to_owned()].into());
    api.push(Fault::Safety);
    let output = saga(folder.path(), &["doctor", "--generator", "gemini"]);
    assert!(!output.status.success());
    let found = checks(&output);
    let bad: Vec<_> = found
        .iter()
        .filter(|(_, ok, _)| !ok)
        .map(|(.., found)| found.as_str())
        .collect();
    assert!(
        bad[0].starts_with("`spare`: HTTP 400: API key not valid"),
        "{bad:?}"
    );
    assert!(bad[1].contains("SAFETY_BLOCK"), "{bad:?}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("secret"));

    let output = saga(folder.path(), &["doctor", "--generator", "dall-e"]);
    let found = checks(&output);
    let (_, ok, why) = found
        .iter()
        .find(|(check, ..)| check == "generator")
        .unwrap();
    assert!(
        !ok && why.contains("'dall-e' is not a backend; there are studio, exemplar, gemini"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_described_and_paid_for_by_the_token_once() {
    let folder = tempfile::tempdir().unwrap();
    let api = FakeApi::start(Settings::default()).await;
    configure(folder.path(), &api);
    let images = folder.path().join("images");
    fs::create_dir(&images).unwrap();
    for name in ["a.png", "b.png", "c.png"] {
        fs::write(images.join(name), format!("an image named {name}")).unwrap();
    }
    let out = folder.path().join("out");
    let describe = |more: &[&str]| {
        let paths = [images.to_str().unwrap(), "--out", out.to_str().unwrap()];
        let labels = ["--labels", "march,vigil", "--comments=2"];
        let arguments = [&["describe"], &paths[..], &labels, more].concat();
        let output = saga(folder.path(), &arguments);
        let file = fs::read_to_string(out.join("descriptions.jsonl")).unwrap();
        let rows = file.lines().map(|line| serde_json::from_str(line).unwrap());
        (output, rows.collect::<Vec<Value>>())
    };
    // One of the three is refused.
    api.push(Fault::Safety);
    let (output, rows) = describe(&["--prompt", "a protest"]);
    assert!(!output.status.success());
    let refused: Vec<_> = rows.iter().filter(|row| row["caption"].is_null()).collect();
    assert_eq!((rows.len(), refused.len()), (3, 1));
    assert_eq!(refused[0]["outcome"], "OUTCOME_SAFETY_BLOCK");
    let described = rows.iter().find(|row| row["caption"].is_string()).unwrap();
    assert_eq!(described["labels"], serde_json::json!(["march"]));
    assert_eq!(described["comments"].as_array().unwrap().len(), 2);
    // 270 tokens in and 1,290 out, as the server says.
    let usd = (270.0 * 0.30 + 1_290.0 * 2.50) / 1e6;
    assert!((described["cost_usd"].as_f64().unwrap() - usd).abs() < 1e-12);
    assert!(
        api.asked()
            .iter()
            .all(|asked| asked.prompt.contains("a protest"))
    );
    assert_eq!(api.asked().len(), 3);
    let (_, again) = describe(&["--prompt", "a protest"]);
    assert_eq!((again, api.asked().len()), (rows, 3));
    // A budget that nothing more goes into.
    let (output, rows) = describe(&["--prompt", "another", "--max-cost", "0.001"]);
    assert!(!output.status.success());
    let told = rows
        .iter()
        .all(|row| row["error"].as_str().unwrap().contains("raise the budget"));
    assert!(told && api.asked().len() == 3, "{rows:?}");
    // Words that are not those that were asked for.
    api.push(Fault::TextOnly);
    let (_, rows) = describe(&["--prompt", "a third"]);
    let odd: Vec<_> = rows.iter().filter(|row| row["caption"].is_null()).collect();
    assert_eq!(odd[0]["outcome"], "OUTCOME_UNDECODABLE");
    let (output, _) = describe(&["--prompt", "x", "--backend", "nobody"]);
    assert!(!output.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_estimate_tells_requests_days_and_money_and_asks_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let api = FakeApi::start(Settings::default()).await;
    configure(folder.path(), &api);
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let studio = [
        "data",
        "studio",
        "--size",
        "64",
        "--count",
        "neutral=60",
        "--count",
        "happy=20",
        "--count",
        "fear=10",
        "--out",
        data,
    ];
    assert!(saga(folder.path(), &studio).status.success());
    let recipe = folder.path().join("tiny.toml");
    fs::write(
        &recipe,
        include_str!("../../../services/all-in-one/tests/tiny.toml"),
    )
    .unwrap();
    let recipe = recipe.to_str().unwrap();
    let output = saga(
        folder.path(),
        &[
            "run",
            recipe,
            "--data",
            data,
            "--generator",
            "gemini",
            "--estimate",
        ],
    );
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let row = |images: u64, accepted: f64| {
        let found = rows
            .iter()
            .find(|row| row["images"] == images && row["accepted"] == accepted);
        found.unwrap_or_else(|| panic!("{rows:?}"))
    };
    let thousand = row(1_000, 0.5);
    assert_eq!(
        (thousand["requests"].as_u64(), thousand["days"].as_f64()),
        (Some(2_000), Some(2.0))
    );
    assert!((thousand["cost_usd"].as_f64().unwrap() - 78.0).abs() < 1e-6);
    // The plan's own number is neither of the others.
    assert_eq!(rows.len(), 3 * 5);
    assert!(api.asked().is_empty());
}
