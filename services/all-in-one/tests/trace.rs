//! One trace for each candidate, across every service that handles it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::HashMap;

use opentelemetry_sdk::trace::SpanData;

const GENERATE: &str = "saga.generator.v1.GeneratorService/Generate";
const EVALUATE: &str = "saga.gate.v1.GateService/Evaluate";
const SETTLE: &str = "saga.labelstore.v1.RunService/SettleCandidate";
/// In the order of the recipe's cascade.
const GATES: [&str; 3] = ["ssim", "clip", "vit"];

#[tokio::test(flavor = "multi_thread")]
async fn a_candidates_trace_spans_generator_gates_and_label_store() {
    let (dispatch, exporter) = saga_chassis::telemetry::in_memory("all-in-one");
    tracing::dispatcher::set_global_default(dispatch).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let services = common::start(folder.path()).await;
    let dataset = folder.path().join("data");
    common::render(&services, &dataset).await;
    let results = common::run(&services, "traced", common::RECIPE, &dataset).await;
    services.stop().await.unwrap();

    let spans = exporter.get_finished_spans().unwrap();
    let traces = Traces::of(&spans);
    let roots: Vec<&SpanData> = spans.iter().filter(|s| s.name == "candidate").collect();
    assert_eq!(
        Some(roots.len() as u64),
        results["candidates"]["generated"].as_u64()
    );
    let mut through_all_gates = 0;
    for root in roots {
        let asked = gates_asked(root);
        through_all_gates += usize::from(asked.len() == GATES.len());
        assert_eq!(traces.calls(root, GENERATE, "generate"), 1);
        assert_eq!(traces.calls(root, SETTLE, "settle"), 1);
        for gate in GATES {
            let wanted = usize::from(asked.contains(&gate));
            let found = traces.calls(root, EVALUATE, &format!("gate {gate}"));
            assert_eq!(found, wanted, "gate {gate} of {root:?}");
            // The gate's work on the item is a span of its own, called after the gate.
            let worked = traces.calls(root, gate, EVALUATE);
            assert_eq!(worked > 0, wanted > 0, "work of gate {gate} of {root:?}");
        }
    }
    assert!(through_all_gates > 0, "no candidate reached the last gate");
}

/// The gates up to the one that rejected the candidate.
fn gates_asked(root: &SpanData) -> &'static [&'static str] {
    let outcome = root.attributes.iter().find(|a| a.key.as_str() == "outcome");
    let outcome = outcome.unwrap().value.as_str();
    let rejected_by = GATES.iter().position(|gate| *gate == outcome);
    &GATES[..rejected_by.map_or(GATES.len(), |gate| gate + 1)]
}

/// Spans by trace.
struct Traces<'a>(HashMap<String, Vec<&'a SpanData>>);

impl<'a> Traces<'a> {
    fn of(spans: &'a [SpanData]) -> Self {
        let mut traces: HashMap<String, Vec<&SpanData>> = HashMap::new();
        for span in spans {
            let trace = span.span_context.trace_id().to_string();
            traces.entry(trace).or_default().push(span);
        }
        Self(traces)
    }

    /// How many server spans of `method` descend from `root` by way of a span named `client`.
    fn calls(&self, root: &SpanData, method: &str, client: &str) -> usize {
        let trace = &self.0[&root.span_context.trace_id().to_string()];
        let served = trace.iter().filter(|span| span.name == method);
        let descends = |span: &&&SpanData| {
            let way = ancestors(trace, span);
            way.iter().any(|span| span.name == client)
                && way.last().unwrap().span_context == root.span_context
        };
        served.filter(descends).count()
    }
}

/// The span itself, its parent, and so on up to the one without a parent in the trace.
fn ancestors<'a>(trace: &[&'a SpanData], span: &'a SpanData) -> Vec<&'a SpanData> {
    let mut way = vec![span];
    let parent = |span: &SpanData| {
        let id = span.parent_span_id;
        trace.iter().find(|s| s.span_context.span_id() == id)
    };
    while let Some(next) = parent(way[way.len() - 1]) {
        way.push(next);
    }
    way
}
