//! A load test's figures as tables and sentences for people.

use std::path::Path;

use saga_load::{Report, Step, knee};

use crate::output;

/// Prints the tables, and where the files are.
pub fn show(report: &Report, out: Option<&Path>) {
    println!("{}", title(report));
    println!("{}", latencies(&report.steps));
    println!("{}", stages(&report.steps));
    for sentence in sentences(report) {
        println!("{sentence}");
    }
    if let Some(out) = out {
        println!(
            "Written below {}: load.html, load.json, load.hlog",
            out.display()
        );
    }
}

/// A figure, or a dash for what is unknown.
pub fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), output::figure)
}

fn title(report: &Report) -> String {
    let gate = &report.gate;
    let model = gate
        .model
        .as_ref()
        .map_or(String::new(), |model| format!(", model {model}"));
    format!(
        "gate {} at {}{model}; {} items on {} connections, {:.1} s a step after {:.1} s of warm-up",
        gate.name,
        gate.address,
        report.items,
        report.connections,
        report.options.duration.as_secs_f64(),
        report.options.warm_up.as_secs_f64(),
    )
}

/// Rates and latencies by step.
fn latencies(steps: &[Step]) -> String {
    let header = [
        "step",
        "offered/s",
        "OK/s",
        "goodput/s",
        "p50 ms",
        "p90",
        "p99",
        "p99.9",
        "max",
        "shed",
        "too late",
        "sent late p99",
    ];
    let mut table = output::table(header);
    for step in steps {
        let latency =
            |of: fn(&saga_load::Percentiles) -> f64| figure(step.latency_ms.as_ref().map(of));
        let void = if step.void() { " VOID" } else { "" };
        table.add_row([
            step.name.clone(),
            figure(step.offered),
            figure(Some(step.throughput)),
            figure(Some(step.goodput)),
            latency(|latency| latency.p50),
            latency(|latency| latency.p90),
            latency(|latency| latency.p99),
            latency(|latency| latency.p99_9),
            latency(|latency| latency.max),
            step.shed().to_string(),
            step.answers("DEADLINE_EXCEEDED").to_string(),
            format!(
                "{}{void}",
                figure(step.lateness.map(|lateness| lateness.p99_ms))
            ),
        ]);
    }
    table.to_string()
}

/// Where the time went by step, as the gate tells it.
fn stages(steps: &[Step]) -> String {
    let mut table = output::table([
        "mean ms",
        "queue",
        "decode",
        "compute",
        "elsewhere",
        "items a batch",
        "answers by code",
    ]);
    for step in steps {
        let stage = |of: fn(&saga_load::Stages) -> f64| figure(step.stages_ms.as_ref().map(of));
        let outcomes: Vec<_> = step
            .outcomes
            .iter()
            .map(|(code, count)| format!("{code} {count}"))
            .collect();
        table.add_row([
            step.name.clone(),
            stage(|stages| stages.queue.mean),
            stage(|stages| stages.decode.mean),
            stage(|stages| stages.compute.mean),
            stage(|stages| stages.elsewhere.mean),
            figure(step.mean_batch()),
            outcomes.join(", "),
        ]);
    }
    table.to_string()
}

/// What the figures say in words; the page says the same.
pub fn sentences(report: &Report) -> Vec<String> {
    let mut sentences = Vec::new();
    if let Some(peak) = report.peak {
        sentences.push(format!(
            "Peak: {} answers a second in the closed loop.",
            output::figure(peak)
        ));
        sentences.push(knee_sentence(report));
    }
    let answers: u64 = report.steps.iter().map(|step| step.answers("OK")).sum();
    if report.mismatches() == 0 {
        sentences.push(format!(
            "All {answers} answers measured have the score of their item asked alone, within {}.",
            report.options.tolerance
        ));
    }
    sentences
}

fn knee_sentence(report: &Report) -> String {
    let rule = format!(
        "the highest rate with goodput of at least {:.0} % and a p99 of at most {} times the median of the lowest rate",
        knee::LEAST_GOODPUT * 100.0,
        knee::MOST_SLOWDOWN
    );
    match &report.knee {
        Some(knee) => format!(
            "Knee: {} requests a second ({} of the peak), p99 {} ms of {} ms allowed; it is {rule}.",
            output::figure(knee.rate),
            knee.step,
            output::figure(knee.p99_ms),
            output::figure(knee.limit_ms)
        ),
        None => format!("Knee: none of the rates qualifies; it would be {rule}."),
    }
}
