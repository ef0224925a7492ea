//! Crash safety of the whole loop: a run that is killed with SIGKILL at 20 random moments and resumed each time ends with
//! the totals of an undisturbed one.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::HashSet,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use serde_json::Value;

const KILLS: usize = 20;

#[test]
fn a_run_killed_twenty_times_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let rendered = saga(&[
        "data",
        "studio",
        "--size",
        "64",
        "--count",
        "neutral=40",
        "--count",
        "happy=30",
        "--count",
        "fear=14",
    ])
    .arg("--out")
    .arg(&data)
    .status()
    .unwrap();
    assert!(rendered.success());

    let (calm, wild) = (folder.path().join("calm"), folder.path().join("wild"));
    assert!(run(&data, &calm, false).wait().unwrap().success());

    // A fixed sequence of delays, so that a failure can be repeated; where in the run they fall is up to the machine.
    let mut random = 0x5a6a_u64;
    let mut kills = 0;
    while kills < KILLS {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let delay = Duration::from_millis((random >> 33) % 1_000);
        let mut child = run(&data, &wild, wild.join("run.json").exists());
        if let Some(status) = wait_for_start_then(&mut child, delay) {
            assert!(status.success(), "the resumed run failed by itself");
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(run(&data, &wild, true).wait().unwrap().success());

    let (calm_results, wild_results) = (results(&calm), results(&wild));
    for pointer in [
        "/candidates/planned",
        "/candidates/accepted",
        "/candidates/accepted_by_class",
        "/dataset",
        "/golden",
    ] {
        assert_eq!(
            calm_results.pointer(pointer),
            wild_results.pointer(pointer),
            "{pointer} after {kills} kills"
        );
    }
    assert_eq!(
        images(&calm),
        images(&wild),
        "the admitted images differ after {kills} kills"
    );
    no_orphans(&wild);
    println!("{kills} kills");
}

fn saga(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saga"));
    command
        .args(arguments)
        .args(["--device", "cpu", "--precision", "f32", "--json"])
        .stdout(Stdio::null());
    command
}

fn run(data: &Path, out: &Path, resume: bool) -> Child {
    let recipe =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../services/all-in-one/tests/tiny.toml");
    let mut command = saga(&["run", recipe.to_str().unwrap()]);
    command
        .arg("--data")
        .arg(data)
        .arg("--out")
        .arg(out)
        .stderr(Stdio::piped());
    if resume {
        command.arg("--resume");
    }
    command.spawn().unwrap()
}

/// Waits for the run's first event, so that kills hit the loop and not the start of the process, then for `delay` or the
/// end; tells the exit status where the run ended by itself.
fn wait_for_start_then(child: &mut Child, delay: Duration) -> Option<std::process::ExitStatus> {
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        stderr
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| send.send(line))
    });
    let _ = lines.recv();
    let deadline = std::time::Instant::now() + delay;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(std::time::Instant::now())) {
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => return None,
            Err(RecvTimeoutError::Disconnected) => return Some(child.wait().unwrap()),
        }
    }
}

fn results(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("results.json")).unwrap()).unwrap()
}

/// Names and contents of the admitted images.
fn images(out: &Path) -> Vec<(String, usize)> {
    let mut images: Vec<(String, usize)> = Vec::new();
    for folder in fs::read_dir(out.join("dataset"))
        .unwrap()
        .map(Result::unwrap)
    {
        if folder.file_name().to_string_lossy().starts_with("aug_") {
            let count = fs::read_dir(folder.path()).unwrap().count();
            images.push((folder.file_name().to_string_lossy().into_owned(), count));
        }
    }
    images.sort();
    images
}

/// Every admitted image is there once.
fn no_orphans(out: &Path) {
    let rows = fs::read_to_string(out.join("dataset/augmented_labels.csv")).unwrap();
    let rows: Vec<&str> = rows.lines().skip(1).collect();
    let unique: HashSet<&&str> = rows.iter().collect();
    assert_eq!(unique.len(), rows.len(), "an image was admitted twice");
}
