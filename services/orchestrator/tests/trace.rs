//! One trace for each candidate, from its root to the label store.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;

use support::{CALLS, World, start_request, watch};

#[tokio::test]
async fn a_candidates_trace_spans_generator_gates_and_label_store() {
    let (dispatch, exporter) = saga_chassis::telemetry::in_memory("orchestrator");
    tracing::dispatcher::set_global_default(dispatch).unwrap();
    let world = World::new().await;
    let mut client = world.orchestrator().await;
    client.start_run(start_request()).await.unwrap();
    watch(&mut client).await;

    let mut calls = BTreeMap::<String, Vec<String>>::new();
    for (path, parent) in CALLS.lock().unwrap().iter() {
        let trace = parent.split('-').nth(1).unwrap_or_default().to_owned();
        let method = path.rsplit('/').next().unwrap().to_owned();
        calls.entry(trace).or_default().push(method);
    }
    let spans = exporter.get_finished_spans().unwrap();
    let roots: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "candidate")
        .collect();
    assert_eq!(roots.len(), 10);
    for root in roots {
        assert_eq!(root.parent_span_id.to_string(), "0000000000000000");
        let trace = root.span_context.trace_id();
        let methods = &calls[&trace.to_string()];
        let count = |name: &str| methods.iter().filter(|method| *method == name).count();
        assert_eq!(
            (
                count("Generate"),
                count("Evaluate"),
                count("SettleCandidate")
            ),
            (1, 3, 1),
            "{methods:?}"
        );
        let children = |name: &str| {
            spans
                .iter()
                .filter(|span| span.name == name && span.span_context.trace_id() == trace)
                .count()
        };
        assert_eq!(
            (
                children("generate"),
                children("gate ssim"),
                children("gate vit"),
                children("settle")
            ),
            (1, 1, 1, 1)
        );
    }
}
