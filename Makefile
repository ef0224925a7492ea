# Set-up and everyday commands. `make help` lists them.
#
# Everything downloaded or compiled lives in a cache folder outside the checkout (SAGA_CACHE, default ~/.cache/saga), so
# that a clean checkout in the same place starts warm. A libtorch of your own: LIBTORCH=/path make setup.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

export SAGA_CACHE ?= $(HOME)/.cache/saga

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: setup
setup: ## Check prerequisites, fetch libtorch, write .cargo/config.toml
	@services/lib/models/setup

.PHONY: build
build: setup ## Build every binary in release
	cargo build --release --workspace --bins

.PHONY: demo
demo: setup ## Run the whole loop on rendered faces; results in out/demo
	cargo run --release --quiet -p saga-cli -- demo --out out/demo

.PHONY: up
up: setup ## Serve everything in one process on loopback
	cargo run --release --quiet -p saga-cli -- up

# tritonclient, which the Open Inference Protocol is tested with.
triton := $(SAGA_CACHE)/tritonclient-2.73.0
$(triton)/ready:
	python3 -m pip --quiet --disable-pip-version-check install --target $(triton) "tritonclient[grpc]==2.73.0"
	touch $@

# onnx and onnxruntime, which exported models are tested with.
onnx := $(SAGA_CACHE)/onnx-1.23.2-onnxruntime-1.31.1
$(onnx)/ready:
	python3 -m pip --quiet --disable-pip-version-check install --target $(onnx) onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6 safetensors==0.8.0
	touch $@

.PHONY: test
test: setup $(triton)/ready $(onnx)/ready ## Run all tests
	SAGA_TRITONCLIENT=$(triton) SAGA_ONNXRUNTIME=$(onnx) cargo test --workspace

# The reference libraries, 5 GB.
references := $(SAGA_CACHE)/venv-references
$(references)/ready: bench/requirements.txt
	python3 -m venv $(references) || { echo "missing: venv for Python 3. Install it with: sudo apt-get install python3-venv" >&2; exit 1; }
	$(references)/bin/pip --quiet --disable-pip-version-check install --requirement bench/requirements.txt
	touch $@

.PHONY: bench
bench: setup $(references)/ready ## Measure beside the reference libraries, alternately
	cargo run --release --quiet -p saga-bench -- compare --python $(references)/bin/python --data $(SAGA_CACHE)/bench

.PHONY: parity
parity: setup $(references)/ready ## Compare full-size checkpoints of every layout with the libraries that write them
	[ -d $(SAGA_CACHE)/parity ] || $(references)/bin/python services/lib/models/tests/fixtures/layouts.py full $(SAGA_CACHE)/parity
	SAGA_PARITY_DIR=$(SAGA_CACHE)/parity SAGA_REFERENCES=$(references)/bin/python cargo test --workspace --test checkpoints --test forms --test hub -- --nocapture

cargo_fuzz := $(SAGA_CACHE)/cargo-fuzz-0.13.2
$(cargo_fuzz)/bin/cargo-fuzz:
	cargo install --quiet --locked --root $(cargo_fuzz) cargo-fuzz@0.13.2

FUZZ_SECONDS ?= 600
.PHONY: fuzz
fuzz: setup $(cargo_fuzz)/bin/cargo-fuzz ## Run every fuzz target for FUZZ_SECONDS (default 600) each
	PATH="$(cargo_fuzz)/bin:$$PATH" fuzz/run $(FUZZ_SECONDS)

.PHONY: lint
lint: setup ## Check formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
