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

.PHONY: test
test: setup ## Run all tests
	cargo test --workspace

.PHONY: lint
lint: setup ## Check formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
