//! The figures of one step: a rate, or a number of callers, kept up for a while.

use std::{collections::BTreeMap, time::SystemTime};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::times::Percentiles;

/// How requests are made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "loop", rename_all = "snake_case")]
pub enum Load {
    /// At their scheduled times, whatever becomes of earlier ones.
    Open {
        /// Requests per second on average.
        rate: f64,
    },
    /// By callers that each wait for their answer before the next request.
    Closed {
        /// Number of callers.
        concurrency: usize,
    },
}

/// What was measured in one step; rates are per second.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// "open", "closed"; in a sweep "peak", then the percentage of it.
    pub name: String,
    /// How requests were made.
    pub load: Load,
    /// How long was measured, the warm-up excluded.
    pub seconds: f64,
    /// Requests measured.
    pub requests: u64,
    /// Requests that were due; absent in the closed loop, where the answers set the pace.
    pub offered: Option<f64>,
    /// OK answers that came while it was measured.
    pub throughput: f64,
    /// Those of them within the deadline.
    pub goodput: f64,
    /// OK answers within the deadline as a share of the requests, 0 to 1.
    pub goodput_share: f64,
    /// From the intended send time, of OK answers and of requests whose deadline passed; refusals would flatter it.
    pub latency_ms: Option<Percentiles>,
    /// Answers by gRPC code.
    pub outcomes: BTreeMap<String, u64>,
    /// How late the generator was; absent in the closed loop.
    pub lateness: Option<Lateness>,
    /// Answers, those of the warm-up included, that differ from the oracle's.
    pub mismatches: u64,
    /// The first of them in words.
    pub first_mismatch: Option<String>,
    /// Answers by the size of the batch they were computed in, as the gate tells it.
    pub batch_sizes: BTreeMap<u32, u64>,
    /// Where the time of OK answers went; absent where there were none.
    pub stages_ms: Option<Stages>,
    /// Latencies second by second.
    #[serde(skip)]
    pub(crate) log: Intervals,
}

/// Actual minus intended send time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Lateness {
    /// Milliseconds that 99 % of requests were late at most.
    pub p99_ms: f64,
    /// Milliseconds of the latest request.
    pub max_ms: f64,
    /// What `p99_ms` may be.
    pub limit_ms: f64,
    /// Beyond the limit: the figures tell about the generator, not about the gate.
    pub void: bool,
}

/// Times by stage, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Stages {
    /// Waiting in the gate's queue.
    pub queue: Percentiles,
    /// Decoding and resizing.
    pub decode: Percentiles,
    /// The batch on the model, whole.
    pub compute: Percentiles,
    /// The rest of the latency: the network, the transport on both sides, the generator's lateness.
    pub elsewhere: Percentiles,
}

/// Latencies of each second of a step.
#[derive(Debug, Clone)]
pub(crate) struct Intervals {
    /// When the first begins.
    pub(crate) begun: SystemTime,
    pub(crate) histograms: Vec<Histogram<u32>>,
}

impl Step {
    /// Whether the generator was too late for the figures to mean anything.
    #[must_use]
    pub fn void(&self) -> bool {
        self.lateness.is_some_and(|lateness| lateness.void)
    }

    /// Answers with this gRPC code, for example "RESOURCE_EXHAUSTED".
    #[must_use]
    pub fn answers(&self, code: &str) -> u64 {
        self.outcomes.get(code).copied().unwrap_or_default()
    }

    /// Requests that the gate shed for want of room.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.answers("RESOURCE_EXHAUSTED")
    }

    /// Mean size of the batches that answers were computed in; `None` where the gate tells none.
    #[must_use]
    pub fn mean_batch(&self) -> Option<f64> {
        let answers: u64 = self.batch_sizes.values().sum();
        let items: u64 = self
            .batch_sizes
            .iter()
            .map(|(&size, &count)| u64::from(size) * count)
            .sum();
        (answers > 0).then(|| items as f64 / answers as f64)
    }
}

#[cfg(test)]
impl Step {
    /// A step of the open loop in which all went well.
    pub(crate) fn example(rate: f64) -> Self {
        let latency = Percentiles {
            mean: 4.0,
            p50: 4.0,
            p90: 4.0,
            p99: 4.0,
            p99_9: 4.0,
            max: 4.0,
        };
        Self {
            name: format!("{rate}"),
            load: Load::Open { rate },
            seconds: 1.0,
            requests: 100,
            offered: Some(rate),
            throughput: rate,
            goodput: rate,
            goodput_share: 1.0,
            latency_ms: Some(latency),
            outcomes: BTreeMap::from([("OK".to_owned(), 100)]),
            lateness: None,
            mismatches: 0,
            first_mismatch: None,
            batch_sizes: BTreeMap::new(),
            stages_ms: None,
            log: Intervals {
                begun: SystemTime::UNIX_EPOCH,
                histograms: Vec::new(),
            },
        }
    }
}
