//! `GateService.Evaluate` and `EvaluateStream` of all gates.

#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use saga_fuzz::{
    MOST_ITEMS,
    image::Image,
    service::{Service, blame},
    text::{Model, Text},
};
use saga_proto::gate::v1::{
    self, EvaluateRequest, EvaluateStreamRequest, Verdict, evaluate_stream_response::Outcome,
    gate_service_client::GateServiceClient,
};
use tonic::Code;

static QUALITY: LazyLock<Service> = LazyLock::new(Service::quality_gate);
static SSIM: LazyLock<Service> = LazyLock::new(Service::ssim_gate);
static CLIP: LazyLock<Service> = LazyLock::new(Service::clip_gate);
static VIT: LazyLock<Service> = LazyLock::new(Service::vit_classifier);

#[derive(Debug, Arbitrary)]
enum Gate {
    Ssim,
    Clip,
    Vit,
    Quality,
}

#[derive(Debug, Arbitrary)]
struct Item {
    id: Text,
    candidate: Option<Image>,
    source: Option<Image>,
    label: Label,
    prompt: Text,
    thresholds: Vec<(Threshold, f64)>,
    model: Model,
}

#[derive(Debug, Arbitrary)]
enum Label {
    Known,
    Any(Text),
}

#[derive(Debug, Arbitrary)]
enum Threshold {
    Min,
    Max,
    Any(String),
}

#[derive(Debug, Arbitrary)]
enum Call {
    Unary(Option<Item>),
    Stream(Vec<Option<Item>>),
}

impl From<Item> for v1::Item {
    fn from(item: Item) -> Self {
        let thresholds = item.thresholds.into_iter().map(|(name, value)| match name {
            Threshold::Min => ("min".to_owned(), value),
            Threshold::Max => ("max".to_owned(), value),
            Threshold::Any(name) => (name, value),
        });
        Self {
            candidate_id: item.id.into(),
            candidate: item.candidate.map(Into::into),
            source: item.source.map(Into::into),
            target_label: match item.label {
                Label::Known => "fear".to_owned(),
                Label::Any(label) => label.into(),
            },
            prompt: item.prompt.into(),
            thresholds: thresholds.collect(),
            model: item.model.into(),
        }
    }
}

fuzz_target!(|input: (Gate, Call)| {
    let (gate, call) = input;
    let service = match gate {
        Gate::Ssim => &SSIM,
        Gate::Clip => &CLIP,
        Gate::Vit => &VIT,
        Gate::Quality => &QUALITY,
    };
    match call {
        Call::Unary(item) => {
            let request = EvaluateRequest {
                item: item.map(Into::into),
            };
            let ask = async |routes| GateServiceClient::new(routes).evaluate(request).await;
            if let Some(answer) = service.ask(ask) {
                check(&answer.verdict.expect("a verdict"));
            }
        }
        Call::Stream(items) => {
            let numbered = items
                .into_iter()
                .take(MOST_ITEMS)
                .zip(0..)
                .map(|(item, sequence)| EvaluateStreamRequest {
                    sequence,
                    item: item.map(Into::into),
                });
            let requests: Vec<_> = numbered.collect();
            let (sent, requests) = (requests.len(), tokio_stream::iter(requests));
            let ask = async |routes| {
                GateServiceClient::new(routes)
                    .evaluate_stream(requests)
                    .await
            };
            let answers = service
                .ask(ask)
                .map(|answers| service.collect(answers))
                .expect("a stream");
            assert_eq!(answers.len(), sent);
            for answer in answers {
                match answer.outcome.expect("an answer") {
                    Outcome::Verdict(verdict) => check(&verdict),
                    Outcome::Error(error) => blame(Code::from(error.code), &error.message),
                }
            }
        }
    }
});

fn check(verdict: &Verdict) {
    assert!(verdict.score.is_finite());
    let above = verdict.threshold_min.is_none_or(|min| verdict.score >= min);
    let below = verdict.threshold_max.is_none_or(|max| verdict.score <= max);
    let rejected_anyway = verdict.reason == "TOO_SMALL";
    assert_eq!(verdict.accepted, above && below && !rejected_anyway);
}
