//! What the tests of loads share: pictures, options, and a gate whose misbehaviour each test chooses.
#![allow(dead_code)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use saga_chassis::{Server, ServerConfig, status::resource_exhausted};
use saga_gate::{Candidate, Gate, GateLimits, GateServer, Judgement};
use saga_imaging::{Rgb, RgbImage, encode_jpeg};
use saga_load::{Options, Plan, Report, Sample, Target, Wording, Workload};
use saga_proto::gate::v1::{
    DescribeResponse, ThresholdSpec, gate_service_server::GateServiceServer,
};
use tokio::sync::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

/// Pairs of pictures, the candidate brighter than the source.
pub fn samples(count: u8) -> Vec<Sample> {
    let picture = |shade: u8| {
        let pixel = |x: u32, y: u32| Rgb([(x * 4) as u8, (y * 5) as u8, shade]);
        encode_jpeg(&RgbImage::from_fn(48, 40, pixel), 90).unwrap()
    };
    let sample = |index: u8| Sample {
        name: format!("picture {index}"),
        candidate: picture(40 + index).into(),
        source: picture(index).into(),
        label: "happy".to_owned(),
    };
    (0..count).map(sample).collect()
}

/// Measures for `milliseconds`, with a deadline of a second; tests share the machine, so lateness voids nothing.
pub fn options(milliseconds: u64) -> Options {
    Options {
        warm_up: Duration::from_millis(50),
        duration: Duration::from_millis(milliseconds),
        deadline: Duration::from_secs(1),
        max_lateness: Duration::from_secs(60),
        tolerance: 1e-9,
        seed: 7,
    }
}

/// Learns four samples and loads the gate at `address`.
pub async fn load(address: &str, plan: Plan, options: Options) -> Report {
    let target = Target::connect(address, 2).await.unwrap();
    let workload = Workload::learn(&target, &samples(ITEMS as u8), &Wording::default(), |_| ())
        .await
        .unwrap();
    let stop = CancellationToken::new();
    saga_load::run(&target, workload, plan, options, &stop, &mut |_| ())
        .await
        .unwrap()
}

/// Distinct items of [`load`], and so the calls that come before the load.
pub const ITEMS: usize = 4;

/// What the fake gate does to the calls of the load; those before it are answered well.
#[derive(Clone, Copy)]
pub enum Fault {
    /// Another score for every fifth call.
    Wrong,
    /// Another score for every call, but only a little.
    Rounds(f64),
    /// Whatever comes waits while the 20th call takes this long.
    Stalls(Duration),
    /// Every fourth call finds no room.
    Sheds,
    /// Calls are never answered.
    Silent,
    /// Calls fail.
    Breaks,
}

/// A gate without a model that answers 0.5.
struct FakeGate {
    fault: Fault,
    calls: AtomicUsize,
    only_one: Mutex<()>,
}

impl Gate for FakeGate {
    fn describe(&self) -> DescribeResponse {
        DescribeResponse {
            name: "fake".to_owned(),
            description: "Misbehaves on purpose".to_owned(),
            thresholds: vec![ThresholdSpec {
                name: "min".to_owned(),
                default_value: 0.1,
                lowest: 0.0,
                highest: 1.0,
            }],
            ..DescribeResponse::default()
        }
    }

    async fn evaluate(&self, _: Candidate) -> Result<Judgement, Status> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let call = call.checked_sub(ITEMS);
        let mut score = 0.5;
        match (self.fault, call) {
            (_, None) => {}
            (Fault::Wrong, Some(call)) if call % 5 == 0 => score = 0.6,
            (Fault::Rounds(by), _) => score += by,
            (Fault::Stalls(time), Some(call)) => {
                let _turn = self.only_one.lock().await;
                if call == 20 {
                    tokio::time::sleep(time).await;
                }
            }
            (Fault::Sheds, Some(call)) if call % 4 == 0 => {
                return Err(resource_exhausted("full", Duration::from_millis(5)));
            }
            (Fault::Silent, _) => std::future::pending().await,
            (Fault::Breaks, _) => return Err(Status::internal("broken")),
            _ => {}
        }
        Ok(Judgement {
            score,
            ..Judgement::default()
        })
    }
}

/// Starts the fake gate on a free port; it stops with the guard.
pub async fn fake_gate(fault: Fault) -> (String, DropGuard) {
    let gate = FakeGate {
        fault,
        calls: AtomicUsize::new(0),
        only_one: Mutex::default(),
    };
    let limits = GateLimits {
        max_image_bytes: 1 << 20,
        max_in_flight: 4,
    };
    let server = Server::bind("fake", &ServerConfig::default())
        .await
        .unwrap();
    let server = server.add_service(GateServiceServer::new(GateServer::new(
        Arc::new(gate),
        limits,
    )));
    server.readiness().set_ready(true);
    let shutdown = CancellationToken::new();
    let running = server.start(shutdown.clone()).unwrap();
    (running.addr.to_string(), shutdown.drop_guard())
}
