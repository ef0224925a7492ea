//! Load tests of single gates: any gate that speaks `saga.gate.v1.GateService`, at any address.
//!
//! What the tools of this trade taught, and where it is here:
//!
//! | idea | known from | here |
//! |---|---|---|
//! | Poisson arrivals drawn ahead of time from a seed | MLPerf LoadGen, server scenario | [`schedule`] |
//! | latency from the intended send time, so that no omission is coordinated with the gate | wrk2, LoadGen | the open loop |
//! | many calls under way on few connections | ghz | [`Target`] |
//! | the whole distribution kept, as an interval log | HdrHistogram | [`histogram_log`] |
//! | answers checked while they are fast, runs declared void | LoadGen's accuracy mode and validity checks | [`Workload`], [`Report::check`] |
//!
//! A load test is [`Target::connect`], then [`Workload::learn`], then [`run()`]:
//!
//! ```no_run
//! # async fn example(samples: Vec<saga_load::Sample>) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use saga_load::{Load, Options, Plan, Target, Wording, Workload};
//!
//! let target = Target::connect("127.0.0.1:50052", 4).await?;
//! let workload = Workload::learn(&target, &samples, &Wording::default(), |_| ()).await?;
//! let options = Options {
//!     warm_up: Duration::from_secs(1),
//!     duration: Duration::from_secs(10),
//!     deadline: Duration::from_secs(1),
//!     max_lateness: Duration::from_millis(5),
//!     tolerance: 1e-3,
//!     seed: 1,
//! };
//! let plan = Plan::Single(Load::Open { rate: 100.0 });
//! let stop = tokio_util::sync::CancellationToken::new();
//! let report = saga_load::run(&target, workload, plan, options, &stop, &mut |_| ()).await?;
//! report.check()?;
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod call;
mod closed_loop;
mod error;
pub mod histogram_log;
pub mod knee;
mod open_loop;
mod recorder;
mod report;
mod run;
pub mod schedule;
mod step;
mod target;
mod times;
mod workload;

pub use error::LoadError;
pub use knee::Knee;
pub use report::{Failure, Gate, Report};
pub use run::{Event, Options, Plan, SWEEP, run};
pub use step::{Lateness, Load, Stages, Step};
pub use target::Target;
pub use times::Percentiles;
pub use workload::{Sample, Wording, Workload};
