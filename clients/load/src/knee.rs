//! The knee: how much load a gate takes before callers feel it.
//!
//! It is the highest rate of the sweep at which both hold: goodput is at least 99 % of the requests, so that hardly anything
//! is shed or late; and the 99th percentile of latency is at most three times the median of the lowest rate, which is what
//! an unhurried gate needs for one item. Steps whose generator was late do not count.

use serde::Serialize;

use crate::step::{Load, Step};

/// Least share of requests that must be answered OK within the deadline.
pub const LEAST_GOODPUT: f64 = 0.99;
/// How many times the lowest rate's median the 99th percentile may be.
pub const MOST_SLOWDOWN: f64 = 3.0;

/// The rate beyond which latency or goodput give way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Knee {
    /// Name of the step.
    pub step: String,
    /// Requests per second that were offered.
    pub rate: f64,
    /// OK answers within the deadline, per second.
    pub goodput: f64,
    /// 99th percentile of latency there, in milliseconds.
    pub p99_ms: f64,
    /// What it may be: [`MOST_SLOWDOWN`] times the lowest rate's median.
    pub limit_ms: f64,
}

/// The knee among the open-loop steps; `None` where none of them is good enough.
#[must_use]
pub fn knee(steps: &[Step]) -> Option<Knee> {
    let mut open: Vec<(f64, &Step)> = steps
        .iter()
        .filter_map(|step| match step.load {
            Load::Open { rate } => Some((rate, step)),
            Load::Closed { .. } => None,
        })
        .collect();
    open.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (_, lowest) = open.first()?;
    let limit_ms = MOST_SLOWDOWN * lowest.latency_ms?.p50;
    let (rate, step, p99_ms) = open
        .into_iter()
        .filter(|(_, step)| !step.void() && step.goodput_share >= LEAST_GOODPUT)
        .filter_map(|(rate, step)| Some((rate, step, step.latency_ms?.p99)))
        .rfind(|(_, _, p99)| *p99 <= limit_ms)?;
    Some(Knee {
        step: step.name.clone(),
        rate,
        goodput: step.goodput,
        p99_ms,
        limit_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Lateness;

    /// A step at `rate` with this share of goodput and these percentiles.
    fn step(rate: f64, goodput_share: f64, p50: f64, p99: f64) -> Step {
        let mut step = Step::example(rate);
        step.goodput_share = goodput_share;
        if let Some(latency) = &mut step.latency_ms {
            (latency.p50, latency.p99) = (p50, p99);
        }
        step
    }

    fn rate(steps: &[Step]) -> Option<f64> {
        knee(steps).map(|knee| knee.rate)
    }

    #[test]
    fn it_is_the_last_rate_before_latency_or_goodput_give_way() {
        let slow = [
            step(10.0, 1.0, 4.0, 6.0),
            step(50.0, 1.0, 5.0, 11.9),
            step(80.0, 1.0, 6.0, 12.1),
            step(110.0, 0.7, 90.0, 200.0),
        ];
        assert_eq!(rate(&slow), Some(50.0));
        assert_eq!(knee(&slow).unwrap().limit_ms, 12.0);
        let shed = [
            step(10.0, 1.0, 4.0, 6.0),
            step(50.0, 0.99, 4.0, 6.0),
            step(80.0, 0.98, 4.0, 6.0),
        ];
        assert_eq!(rate(&shed), Some(50.0));
    }

    #[test]
    fn closed_loops_void_steps_and_gates_in_trouble_have_none() {
        assert_eq!(rate(&[]), None);
        assert_eq!(rate(&[step(10.0, 1.0, 4.0, 40.0)]), None);
        let mut closed = step(500.0, 1.0, 4.0, 4.0);
        closed.load = Load::Closed { concurrency: 8 };
        let mut void = step(90.0, 1.0, 4.0, 4.0);
        void.lateness = Some(Lateness {
            p99_ms: 9.0,
            max_ms: 9.0,
            limit_ms: 5.0,
            void: true,
        });
        assert_eq!(rate(&[closed, step(10.0, 1.0, 4.0, 4.0), void]), Some(10.0));
    }

    #[test]
    fn the_order_of_the_steps_does_not_matter() {
        let steps = [step(50.0, 1.0, 9.0, 11.0), step(10.0, 1.0, 4.0, 6.0)];
        assert_eq!(rate(&steps), Some(50.0));
    }
}
