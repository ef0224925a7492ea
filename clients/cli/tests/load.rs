//! `saga load` through the command: what it measures, writes and prints, how it ends, and bad input.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::sync::{CancellationToken, DropGuard};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saga"));
    command
        .args(arguments)
        .args(["--device", "cpu", "--precision", "f32", "--json"])
        .env("OMP_NUM_THREADS", "1");
    command
}

/// Short steps, and a generator that may be late: tests share the machine.
fn load(arguments: &[&str]) -> Output {
    let short = [
        "--duration",
        "300ms",
        "--warm-up",
        "50ms",
        "--items",
        "6",
        "--max-lateness",
        "60000",
    ];
    command(&[&["load"], arguments, &short].concat())
        .output()
        .unwrap()
}

/// The figures of a load that must succeed.
fn figures(arguments: &[&str]) -> Value {
    let output = load(arguments);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(figures["failure"], Value::Null);
    figures
}

fn fails(arguments: &[&str], code: i32, words: &[&str]) {
    let output = load(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

/// A gate outside of the command's own process.
struct Gate {
    address: String,
    _shutdown: DropGuard,
    _runtime: Runtime,
}

impl Gate {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let mut config = ssim_gate::Config::default();
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        let shutdown = CancellationToken::new();
        let running = runtime
            .block_on(ssim_gate::start(config, shutdown.clone()))
            .unwrap();
        Self {
            address: running.addr.to_string(),
            _shutdown: shutdown.drop_guard(),
            _runtime: runtime,
        }
    }
}

fn render(folder: &Path) {
    let out = format!("--out={}", folder.display());
    let studio = [
        "data", "studio", "--size", "64", "--count", "happy=3", "--count", "fear=2", &out,
    ];
    let output = command(&studio).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_sweep_of_a_gate_in_this_process_leaves_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("load");
    let arguments = [
        "ssim",
        "--sweep",
        "--size",
        "64",
        "--tolerance",
        "0",
        "--concurrency",
        "4",
    ];
    let figures = figures(&[&arguments[..], &["--out", out.to_str().unwrap()]].concat());
    assert_eq!(figures["gate"]["name"], "ssim");
    assert_eq!(figures["steps"].as_array().unwrap().len(), 11);
    assert!(figures["peak"].as_f64().unwrap() > 1.0);
    let step = &figures["steps"][1];
    assert_eq!(
        (&step["name"], &step["load"]["loop"]),
        (&"10%".into(), &"open".into())
    );

    let written: Value = serde_json::from_slice(&fs::read(out.join("load.json")).unwrap()).unwrap();
    assert_eq!(written, figures);
    let log = fs::read_to_string(out.join("load.hlog")).unwrap();
    assert!(
        log.contains("Tag=peak,") && log.contains(",HISTFAAAA"),
        "{log}"
    );
    let page = fs::read_to_string(out.join("load.html")).unwrap();
    assert_eq!(page.matches("<polyline").count(), 7);
    for text in [
        "Latency against rate",
        "Where the time went",
        "Items a batch",
        "150%",
    ] {
        assert!(page.contains(text), "`{text}` is not on the page");
    }
    // Offline: nothing is loaded from anywhere.
    for text in ["<script", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(text), "`{text}` is on the page");
    }
}

#[test]
fn an_address_suffices_with_images_of_ones_own() {
    let gate = Gate::start();
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("data");
    render(&images);
    let images = images.to_str().unwrap();
    let arguments = ["--address", &gate.address, "--images", images];
    let closed = figures(&arguments);
    assert_eq!(closed["items"], 5);
    assert_eq!(closed["steps"][0]["load"]["loop"], "closed");
    let open = figures(&[&arguments[..], &["--rate", "40", "--connections", "2"]].concat());
    assert_eq!(open["connections"], 2);
    let step = &open["steps"][0];
    assert_eq!(step["outcomes"]["OK"], step["requests"]);
    let misnamed = [&["clip"], &arguments[..]].concat();
    fails(&misnamed, 1, &["calls itself \"ssim\"", "\"clip\""]);
}

#[test]
fn gates_with_a_model_are_started_with_it_and_batch() {
    let models = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../services/lib/models/tests/fixtures"
    );
    for (gate, id) in [("vit", "vit-patch8-32"), ("clip", "clip-vit-patch8-32")] {
        let model = format!("{models}/{gate}");
        let figures = figures(&[gate, "--model", &model, "--concurrency", "16"]);
        let named = figures["gate"]["model"].as_str().unwrap();
        assert!(named.contains(id), "{named}");
        let sizes = figures["steps"][0]["batch_sizes"].as_object().unwrap();
        assert!(sizes.keys().any(|size| size != "1"), "{sizes:?}");
        let unknown = [gate, "--model", &model, "--target", "boredom"];
        if gate == "vit" {
            fails(&unknown, 1, &["refuses", "item.target_label", "boredom"]);
        }
    }
}

#[test]
fn an_interrupt_ends_the_load_and_tells_what_was_measured() {
    let long = [
        "load",
        "ssim",
        "--rate",
        "50",
        "--items",
        "4",
        "--duration",
        "10m",
        "--warm-up",
        "0",
    ];
    let mut command = command(&long);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(
        log.any(|line| line.contains("\"event\":\"progress\"")),
        "it never began"
    );
    let interrupt = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupt.unwrap().success());
    let rest: Vec<String> = log.collect();
    let mut figures = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut figures)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest:?}");
    assert!(
        rest.iter().any(|line| line.contains("interrupted")),
        "{rest:?}"
    );
    let figures: Value = serde_json::from_str(&figures).unwrap();
    assert_eq!(figures["interrupted"], true);
    assert!(
        figures["steps"][0]["requests"].as_u64().unwrap() > 10,
        "{figures}"
    );
}

#[test]
fn mistakes_on_the_command_line_are_explained() {
    for rate in ["0", "-5", "NaN", "inf", "fast"] {
        fails(&["ssim", &format!("--rate={rate}")], 2, &["--rate", rate]);
    }
    fails(&[], 2, &["<GATE>"]);
    fails(
        &["ssim", "--rate", "5", "--sweep"],
        2,
        &["--rate", "--sweep"],
    );
    fails(&["ssim", "--deadline", "0"], 2, &["--deadline", "above 0"]);
    fails(&["jpeg"], 2, &["ssim, clip, vit"]);
}

#[test]
fn what_cannot_be_loaded_is_named_before_the_load() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    fails(&["ssim", "--images", path], 1, &["no images", path]);
    let missing = folder.path().join("nowhere");
    let missing = missing.to_str().unwrap();
    fails(
        &["ssim", "--images", missing],
        1,
        &["cannot read the folder", missing],
    );
    fs::write(folder.path().join("text.jpg"), "no picture").unwrap();
    fails(
        &["ssim", "--images", path],
        1,
        &["refuses", "text.jpg", "not an image"],
    );
    let nobody = ["--address", "127.0.0.1:1"];
    fails(&nobody, 1, &["nobody listens on 127.0.0.1:1"]);
    fails(&["vit", "--model", missing], 1, &[missing, "--model"]);
    fails(&["ssim", "--model", path], 1, &["ssim has no model"]);
    fails(
        &["ssim", "--rate", "1e9"],
        1,
        &["requests per second", "lower the rate"],
    );
    let file = folder.path().join("text.jpg/out");
    fails(
        &["ssim", "--out", file.to_str().unwrap()],
        1,
        &["cannot create", "text.jpg"],
    );
}
