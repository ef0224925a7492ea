//! Tells the code where cargo keeps the weights that rustface's package carries.

use std::{env, error::Error, path::Path, process::Command};

const PACKAGE: &str = "rustface";
/// Relative to the package.
const WEIGHTS: &str = "model/seeta_fd_frontal_v1.0.bin";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let answer = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version=1", "--filter-platform"])
        .arg(env::var("TARGET")?)
        .output()?;
    if !answer.status.success() {
        return Err(String::from_utf8_lossy(&answer.stderr).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&answer.stdout)?;
    let manifest = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == PACKAGE)
        .and_then(|package| package["manifest_path"].as_str())
        .ok_or("cargo metadata names no rustface")?;
    let weights = Path::new(manifest).with_file_name(WEIGHTS);
    println!("cargo::rerun-if-changed={}", weights.display());
    println!("cargo::rustc-env=SEETAFACE_WEIGHTS={}", weights.display());
    Ok(())
}
