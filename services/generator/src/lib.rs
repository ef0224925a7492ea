//! Generation of candidates, whatever the backend, and the studio's data set.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod exemplar;
pub mod studio;
