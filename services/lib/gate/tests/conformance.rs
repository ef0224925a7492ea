//! The conformance suite lets an honest gate pass and finds each of several dishonest ones.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use saga_chassis::{Server, ServerConfig};
use saga_client::conformance::{self, Fixtures, Report};
use saga_gate::{Candidate, Gate, GateLimits, GateServer, Judgement, decode_error};
use saga_imaging::{DecodeLimits, Rgb, RgbImage, decode, encode_jpeg};
use saga_proto::gate::v1::gate_service_server::GateServiceServer;
use saga_proto::gate::v1::{DescribeResponse, ThresholdSpec};
use saga_proto::r#type::v1::{ModelVersion, Timing};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// What a gate does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    ScoreDrifts,
    TakesAnyBytes,
    OtherModel,
    NoTiming,
    DefaultOutOfRange,
}

/// Scores a candidate by its first pixel's red.
struct Redness {
    fault: Fault,
    calls: AtomicU64,
}

impl Gate for Redness {
    fn describe(&self) -> DescribeResponse {
        let default_value = if self.fault == Fault::DefaultOutOfRange {
            3.0
        } else {
            0.5
        };
        let min = ThresholdSpec {
            name: "min".to_owned(),
            default_value,
            lowest: 0.0,
            highest: 1.0,
        };
        DescribeResponse {
            name: "redness".to_owned(),
            description: "Red of the first pixel".to_owned(),
            needs_prompt: true,
            needs_target_label: true,
            thresholds: vec![min],
            model: Some(model("a")),
            ..DescribeResponse::default()
        }
    }

    async fn evaluate(&self, candidate: Candidate) -> Result<Judgement, Status> {
        let decoded = decode(&candidate.candidate.data, &DecodeLimits::default());
        let score = match decoded {
            Ok(picture) => f64::from(picture.get_pixel(0, 0).0[0]) / 255.0,
            Err(_) if self.fault == Fault::TakesAnyBytes => 0.5,
            Err(error) => return Err(decode_error("item.candidate", &error)),
        };
        let calls = self.calls.fetch_add(1, Ordering::Relaxed) as f64;
        let zero = Some(prost_types::Duration::default());
        let timing = Timing {
            queue: zero,
            decode: zero,
            compute: zero,
            batch_size: 1,
        };
        Ok(Judgement {
            score: if self.fault == Fault::ScoreDrifts {
                score - calls / 100.0
            } else {
                score
            },
            rejected: None,
            model: Some(model(if self.fault == Fault::OtherModel {
                "b"
            } else {
                "a"
            })),
            timing: if self.fault == Fault::NoTiming {
                Timing::default()
            } else {
                timing
            },
            details: HashMap::new(),
        })
    }
}

fn model(revision: &str) -> ModelVersion {
    ModelVersion {
        name: "default".to_owned(),
        id: "redness".to_owned(),
        revision: revision.to_owned(),
    }
}

async fn report(fault: Fault) -> Report {
    let gate = Arc::new(Redness {
        fault,
        calls: AtomicU64::new(0),
    });
    let limits = GateLimits {
        max_image_bytes: 1 << 20,
        max_in_flight: 4,
    };
    let server = Server::bind("redness", &ServerConfig::default())
        .await
        .unwrap();
    let server = server.add_service(GateServiceServer::new(GateServer::new(gate, limits)));
    server.readiness().set_ready(true);
    let shutdown = CancellationToken::new();
    let running = server.start(shutdown.clone()).unwrap();
    let picture = |red| encode_jpeg(&RgbImage::from_pixel(16, 16, Rgb([red, 90, 90])), 90).unwrap();
    let fixtures = Fixtures {
        source: picture(40).into(),
        candidate: picture(180).into(),
        target_label: "happy".to_owned(),
        prompt: "a photo of a happy face".to_owned(),
    };
    let report = conformance::check(&running.addr.to_string(), &fixtures)
        .await
        .unwrap();
    shutdown.cancel();
    report
}

#[tokio::test]
async fn an_honest_gate_passes() {
    let report = report(Fault::None).await;
    assert!(report.passed(), "{report}");
}

#[tokio::test]
async fn dishonest_gates_are_found() {
    for (fault, promise) in [
        (Fault::ScoreDrifts, "the same item has the same score"),
        (
            Fault::TakesAnyBytes,
            "a candidate that is cut in half is refused, naming item.candidate",
        ),
        (
            Fault::OtherModel,
            "a verdict is complete and agrees with Describe",
        ),
        (
            Fault::NoTiming,
            "a verdict is complete and agrees with Describe",
        ),
        (
            Fault::DefaultOutOfRange,
            "Describe names the gate, its purpose and its thresholds with ranges",
        ),
    ] {
        let report = report(fault).await;
        let found = report
            .checks
            .iter()
            .any(|check| check.promise == promise && check.failure.is_some());
        assert!(found && !report.passed(), "{promise}\n{report}");
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_an_error() {
    let nothing = Fixtures {
        source: Default::default(),
        candidate: Default::default(),
        target_label: String::new(),
        prompt: String::new(),
    };
    assert!(conformance::check("127.0.0.1:1", &nothing).await.is_err());
}
