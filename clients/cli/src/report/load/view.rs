//! A load test's figures arranged for the page.

use saga_load::{Load, Percentiles, Report, Stages, Step};
use serde::Serialize;

use crate::commands::load::figure;
use crate::report::plot::{Labels, Line, Plot, Scale};

/// Sizes of batches that share a colour: the first of each group, with its name.
const BATCHES: [(u32, &str); 6] = [
    (1, "1"),
    (2, "2-3"),
    (4, "4-7"),
    (8, "8-15"),
    (16, "16-31"),
    (32, "32 and more"),
];

/// Latency and rates against the offered rate; none where there are too few steps for a line.
pub fn plots(report: &Report) -> Vec<Plot> {
    let open: Vec<(f64, &Step)> = report
        .steps
        .iter()
        .filter_map(|step| match step.load {
            Load::Open { rate } => Some((rate, step)),
            Load::Closed { .. } => None,
        })
        .collect();
    if open.len() < 2 {
        return Vec::new();
    }
    let line = |name, colour, of: &dyn Fn(&Step) -> Option<f64>| Line {
        name,
        colour,
        dashed: false,
        points: open
            .iter()
            .filter_map(|&(rate, step)| Some((rate, of(step)?)))
            .collect(),
    };
    let latency = |name, colour, of: fn(&Percentiles) -> f64| {
        line(name, colour, &|step| step.latency_ms.as_ref().map(of))
    };
    let latencies = [
        latency("p50", "var(--real)", |latency| latency.p50),
        latency("p90", "var(--good)", |latency| latency.p90),
        latency("p99", "var(--new)", |latency| latency.p99),
        latency("p99.9", "var(--bad)", |latency| latency.p99_9),
    ];
    let mut offered = line("offered", "var(--soft)", &|step| step.offered);
    offered.dashed = true;
    let rates = [
        offered,
        line("OK answers", "var(--real)", &|step| Some(step.throughput)),
        line("goodput", "var(--new)", &|step| Some(step.goodput)),
    ];
    let labels = |title: &str, y| Labels {
        title: title.to_owned(),
        x: "offered requests a second",
        x_unit: "/s",
        y,
    };
    let knee = report.knee.as_ref().map(|knee| (knee.rate, "knee"));
    vec![
        Plot::new(
            labels("Latency against rate", "ms"),
            Scale::Logarithmic,
            &latencies,
            knee,
        ),
        Plot::new(
            labels("Answers against rate", "per second"),
            Scale::Linear,
            &rates,
            knee,
        ),
    ]
}

/// One step in words.
#[derive(Debug, Serialize)]
pub struct Row {
    name: String,
    is_knee: bool,
    void: bool,
    /// In the order of the page's columns.
    cells: Vec<String>,
    /// Code and count.
    outcomes: Vec<String>,
}

/// Every step.
pub fn rows(report: &Report) -> Vec<Row> {
    let knee = report.knee.as_ref().map(|knee| &knee.step);
    let row = |step: &Step| {
        let latency = |of: fn(&Percentiles) -> f64| figure(step.latency_ms.as_ref().map(of));
        let outcomes = step
            .outcomes
            .iter()
            .map(|(code, count)| format!("{code} {count}"));
        Row {
            name: step.name.clone(),
            is_knee: knee == Some(&step.name),
            void: step.void(),
            cells: vec![
                figure(step.offered),
                figure(Some(step.throughput)),
                figure(Some(step.goodput)),
                latency(|latency| latency.p50),
                latency(|latency| latency.p90),
                latency(|latency| latency.p99),
                latency(|latency| latency.p99_9),
                latency(|latency| latency.max),
                figure(step.lateness.map(|lateness| lateness.p99_ms)),
            ],
            outcomes: outcomes.collect(),
        }
    };
    report.steps.iter().map(row).collect()
}

/// A bar of several parts.
#[derive(Debug, Serialize)]
pub struct Bar {
    name: String,
    parts: Vec<Part>,
}

#[derive(Debug, Serialize)]
struct Part {
    name: &'static str,
    value: String,
    /// Of the width of the longest bar.
    share: f64,
    /// Shown where the pointer rests.
    text: String,
}

/// Answers by the size of their batch, each step a whole bar.
pub fn batches(report: &Report) -> Vec<Bar> {
    let bar = |step: &Step| {
        let whole: u64 = step.batch_sizes.values().sum();
        let parts = BATCHES.iter().zip(1..).map(|(&(first, name), next)| {
            let end = BATCHES.get(next).map_or(u32::MAX, |(next, _)| *next);
            let count: u64 = step
                .batch_sizes
                .range(first..end)
                .map(|(_, count)| count)
                .sum();
            let share = count as f64 / whole.max(1) as f64;
            Part {
                name,
                value: format!("{:.0} %", share * 100.0),
                share,
                text: format!("{name} a batch: {count} answers"),
            }
        });
        Bar {
            name: step.name.clone(),
            parts: parts.collect(),
        }
    };
    let told = |step: &&Step| !step.batch_sizes.is_empty();
    report.steps.iter().filter(told).map(bar).collect()
}

/// Mean time by stage; the bars share a scale.
pub fn stages(report: &Report) -> Vec<Bar> {
    let means = |stages: &Stages| {
        [
            ("queue", stages.queue.mean),
            ("decode", stages.decode.mean),
            ("compute", stages.compute.mean),
            ("elsewhere", stages.elsewhere.mean),
        ]
    };
    let measured = || {
        let steps = report.steps.iter();
        steps.filter_map(|step| Some((step, means(step.stages_ms.as_ref()?))))
    };
    let whole = |means: [(&str, f64); 4]| means.iter().map(|(_, mean)| mean).sum::<f64>();
    let longest = measured()
        .map(|(_, means)| whole(means))
        .fold(f64::MIN_POSITIVE, f64::max);
    let part = |(name, mean)| Part {
        name,
        value: figure(Some(mean)),
        share: mean / longest,
        text: format!("{name}: {} ms", figure(Some(mean))),
    };
    let bar = |(step, means): (&Step, [(&'static str, f64); 4])| Bar {
        name: step.name.clone(),
        parts: means.map(part).into(),
    };
    measured().map(bar).collect()
}
