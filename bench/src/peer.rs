//! The Python process that does the same work with the reference libraries.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peer.py");

/// One round of either side.
#[derive(Debug, Deserialize)]
pub struct Round {
    /// Of the work alone.
    pub seconds: f64,
    pub items: usize,
    /// What came out, an item a row.
    pub answers: Vec<Vec<f64>>,
}

impl Round {
    pub fn seconds_per_item(&self) -> f64 {
        self.seconds / self.items.max(1) as f64
    }
}

/// A running peer; it ends with this.
pub struct Peer {
    process: Child,
    jobs: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Writes checkpoints and pictures where they are not there yet.
    pub fn prepare(python: &str, data: &Path) -> Result<()> {
        if data.join("31-photograph.jpg").is_file() {
            return Ok(());
        }
        let status = Command::new(python)
            .arg(SCRIPT)
            .arg("prepare")
            .arg(data)
            .status()
            .with_context(|| format!("cannot run `{python}`; see `make bench`"))?;
        ensure!(
            status.success(),
            "the peer could not prepare {}",
            data.display()
        );
        Ok(())
    }

    /// Starts it on what [`Self::prepare`] wrote, limited to one thread where `single`.
    pub fn start(python: &str, data: &Path, single: bool) -> Result<Self> {
        let mut command = Command::new(python);
        if single {
            command.env("OMP_NUM_THREADS", "1");
        }
        let mut process = command
            .arg(SCRIPT)
            .arg("serve")
            .arg(data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let jobs = process.stdin.take().context("no way to ask the peer")?;
        let answers = process.stdout.take().context("no way to hear the peer")?;
        Ok(Self {
            process,
            jobs,
            answers: BufReader::new(answers),
        })
    }

    /// One round of the job of this name.
    pub fn round(&mut self, job: &str) -> Result<Round> {
        writeln!(self.jobs, "{job}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line)
            .with_context(|| format!("the peer failed at {job}: run it by hand"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
