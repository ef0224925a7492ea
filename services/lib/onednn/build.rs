//! Compiles the C++ half against the libtorch that tch is built with.

use std::{env, path::Path};

fn main() {
    println!("cargo::rerun-if-changed=src/shim.cpp");
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    let Some(root) = env::var_os("LIBTORCH") else {
        println!(
            "cargo::error=LIBTORCH is not set: run `make setup`, or set it to a libtorch of your own"
        );
        return;
    };
    let include = Path::new(&root).join("include");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .file("src/shim.cpp")
        .compile("saga_onednn");
}
