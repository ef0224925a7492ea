//! A bounded queue in front of worker threads, with batches that form when a worker frees up.
//!
//! - **No timer.** A worker takes what waits, up to `max_batch`, and computes; meanwhile the next batch gathers. Alone,
//!   an item never waits for company; under load, batches fill by themselves.
//! - **Bounded.** [`Batcher::submit`] waits for room (backpressure for streams); [`Batcher::try_submit`] sheds.
//! - **Two levels.** Items of [`Priority::Low`] wait behind all normal ones, take at most half of the queue, and never
//!   starve: while they wait, one of every [`LOW_EVERY`] items taken is a low one.
//! - **No wasted work.** An item whose caller went away, or whose deadline will have passed when its batch is done, as the last
//!   ones tell, is skipped before it is computed, and a batch has no more items than are done in time. [`Batcher::admit`] tells
//!   before an item is even prepared whether it would be shed or late.
//! - **Isolation.** Each item has its own result. A worker that panics or miscounts answers all that wait with
//!   [`SubmitError::Unhealthy`] and takes no more; nothing hangs.
//!
//! What happens is recorded in the [`WorkMetrics`](saga_metrics::WorkMetrics) that a batcher is given.
//!
//! Workers are plain OS threads and are made on the thread that they run on, so that a model which must not move
//! between threads never does. The crate knows neither tensors nor transport.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use saga_batching::{BatchConfig, Batcher, Priority};
//!
//! let config = BatchConfig { max_batch: 8, queue_capacity: 64 };
//! let metrics = saga_metrics::Metrics::new().work("doubler");
//! let doubler = Batcher::spawn(metrics, config, || {
//!     Ok::<_, String>(|batch: Vec<u32>| batch.into_iter().map(|n| n.checked_mul(2).ok_or("too large")).collect::<Vec<_>>())
//! })
//! .await
//! .unwrap();
//! assert_eq!(doubler.submit(21, Priority::Normal, None).await.unwrap().output, 42);
//! # }
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod alive;
mod answer;
mod batcher;
mod entry;
mod intake;
mod levels;
mod outlook;
mod pace;
mod queue;
mod stats;
mod worker;

pub use alive::wait_for_workers;
pub use answer::{Batched, SpawnError, SubmitError};
pub use batcher::{BatchConfig, Batcher, threads};
pub use levels::{LOW_EVERY, Priority};
pub use stats::Stats;
