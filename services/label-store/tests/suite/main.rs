//! Tests of the store through its public interface, in one binary.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admission;
mod arms;
mod common;
mod crash;
mod duplicates;
mod export;
mod extra;
mod grpc;
mod import;
mod ledger;
mod real_photographs;
mod registry;
mod slots;
