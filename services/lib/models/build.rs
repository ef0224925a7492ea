//! Tells the code which libtorch it is built with.

use std::{env, fs, path::Path};

fn main() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    let version = env::var("LIBTORCH")
        .ok()
        .and_then(|root| fs::read_to_string(Path::new(&root).join("build-version")).ok());
    let version = version.as_deref().map_or("unknown", str::trim);
    println!("cargo::rustc-env=SAGA_LIBTORCH_VERSION={version}");
}
