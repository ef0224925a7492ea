//! `saga pool`: several evaluated runs on one data set, each with a split of its own, judged together.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use orchestrator::evaluation::{conclude, judged::Judged};

use super::eval::{self, ANSWERS};
use crate::args::{Global, PoolArgs};

pub fn pool(global: &Global, args: &PoolArgs) -> Result<()> {
    let runs: Vec<Judged> = args
        .runs
        .iter()
        .map(|run| read(run))
        .collect::<Result<_>>()?;
    let evaluation = conclude(&runs, Vec::new())?;
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder `{}`", args.out.display()))?;
    eval::tell(global, &args.out, &evaluation)
}

fn read(run: &Path) -> Result<Judged> {
    let path = run.join(ANSWERS);
    let json = fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read `{}`; evaluate the run first: saga eval --out {}",
            path.display(),
            run.display()
        )
    })?;
    serde_json::from_str(&json).with_context(|| {
        format!(
            "`{}` is not what saga eval writes; evaluate the run again: saga eval --out {}",
            path.display(),
            run.display()
        )
    })
}
