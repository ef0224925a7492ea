//! A gate whose verdict is written in the candidate: "reject-NAME" is rejected, "error-NAME" is an error, and a
//! calibration image under another class than its own scores low.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use saga_proto::gate::v1::{
    DescribeRequest, DescribeResponse, EvaluateRequest, EvaluateResponse, EvaluateStreamRequest,
    EvaluateStreamResponse, Item, ThresholdSpec, Verdict, gate_service_server::GateService,
};
use tonic::{Request, Response, Status, Streaming};

use super::{Answers, FakeClassifier};

#[derive(Debug, Clone)]
pub struct FakeGate {
    pub name: &'static str,
    /// Every item it was asked about.
    pub asked: Arc<Mutex<Vec<Item>>>,
    /// How many of them with low priority.
    pub low: Arc<AtomicU32>,
    /// Calls that it answers with UNAVAILABLE before it works.
    pub failures: Arc<AtomicU32>,
    /// What it reports where it accepts.
    pub score: f64,
    /// Models without one of which it judges nothing.
    pub models: Arc<Mutex<Option<FakeClassifier>>>,
}

impl FakeGate {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            asked: Arc::default(),
            low: Arc::default(),
            failures: Arc::default(),
            score: 0.9,
            models: Arc::default(),
        }
    }

    /// Candidate ids it was asked about.
    pub fn ids(&self) -> Vec<String> {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .map(|item| item.candidate_id.clone())
            .collect()
    }
}

#[tonic::async_trait]
impl GateService for FakeGate {
    async fn describe(
        &self,
        _: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        let bound = |name: &str, default_value: f64| ThresholdSpec {
            name: name.into(),
            default_value,
            lowest: 0.0,
            highest: 1.0,
        };
        Ok(Response::new(DescribeResponse {
            name: self.name.into(),
            needs_source: self.name == "ssim",
            needs_prompt: self.name == "clip",
            thresholds: vec![bound("min", 0.5), bound("max", 1.0)],
            ..DescribeResponse::default()
        }))
    }

    async fn evaluate(
        &self,
        request: Request<EvaluateRequest>,
    ) -> Result<Response<EvaluateResponse>, Status> {
        if let Some(models) = self.models.lock().unwrap().as_ref() {
            models.check_loaded(&request.get_ref().item.as_ref().unwrap().model)?;
        }
        if self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
            .is_ok()
        {
            return Err(Status::unavailable("warming up"));
        }
        if request.metadata().get("saga-priority") == Some(&"low".parse().unwrap()) {
            self.low.fetch_add(1, Ordering::SeqCst);
        }
        let item = request.into_inner().item.unwrap();
        let text = String::from_utf8(item.candidate.clone().unwrap().data.to_vec()).unwrap();
        if text.contains(&format!("error-{}", self.name)) {
            return Err(Status::invalid_argument("item.candidate: does not decode"));
        }
        let accepted = !text.contains(&format!("reject-{}", self.name));
        let mismatched = text.contains(" calibration ") && !text.starts_with(&item.target_label);
        let score = match (accepted, mismatched) {
            (true, false) => self.score,
            (true, true) => self.score / 4.0,
            (false, _) => 0.0,
        };
        let verdict = Verdict {
            candidate_id: item.candidate_id.clone(),
            gate: self.name.into(),
            accepted,
            score,
            ..Verdict::default()
        };
        self.asked.lock().unwrap().push(item);
        Ok(Response::new(EvaluateResponse {
            verdict: Some(verdict),
        }))
    }

    type EvaluateStreamStream = Answers<EvaluateStreamResponse>;

    async fn evaluate_stream(
        &self,
        _: Request<Streaming<EvaluateStreamRequest>>,
    ) -> Result<Response<Self::EvaluateStreamStream>, Status> {
        Err(Status::unimplemented("not in tests"))
    }
}
