//! Compiles the C++ halves against the libtorch that tch is built with.

use std::{env, path::Path};

const SOURCES: [&str; 4] = [
    "src/linear.cpp",
    "src/convolution.cpp",
    "src/quantized.cpp",
    "src/attention.cpp",
];

fn main() {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    let Some(root) = env::var_os("LIBTORCH") else {
        println!(
            "cargo::error=LIBTORCH is not set: run `make setup`, or set it to a libtorch of your own"
        );
        return;
    };
    let root = Path::new(&root);
    let include = root.join("include");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .opt_level(3)
        .flag("-fopenmp")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .files(SOURCES)
        .compile("saga_kernels");
    // libtorch's own threads, not a second set of them.
    println!(
        "cargo::rustc-link-search=native={}",
        root.join("lib").display()
    );
    println!("cargo::rustc-link-lib=dylib=gomp");
}
