//! A generator whose images are texts that tell gates what to answer.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use saga_proto::{
    generator::v1::{
        Backend, Candidate, CandidateSpec, CheckKeysRequest, CheckKeysResponse, Fault,
        GenerateRequest, GenerateResponse, GenerateStreamRequest, GenerateStreamResponse,
        ListBackendsRequest, ListBackendsResponse, Outcome, Truth,
        generator_service_server::GeneratorService,
    },
    r#type::v1::Image,
};
use tokio::sync::{Notify, Semaphore};
use tonic::{Request, Response, Status, Streaming};

use super::{Answers, FakeClassifier};

/// What the generator answers.
pub type Rule = fn(&CandidateSpec) -> Result<Candidate, Status>;

#[derive(Debug, Clone)]
pub struct FakeGenerator {
    /// Every request.
    pub asked: Arc<Mutex<Vec<CandidateSpec>>>,
    pub rule: Arc<Mutex<Rule>>,
    /// Candidates it may still make before it hangs.
    pub allowance: Arc<Semaphore>,
    /// Models without one of which it makes nothing.
    pub models: Option<FakeClassifier>,
    pub overtaking: Arc<Overtaking>,
}

/// Holds every second request back until another was answered, where it is on.
#[derive(Debug, Default)]
pub struct Overtaking {
    pub on: AtomicBool,
    requests: AtomicU64,
    answered: Notify,
    /// Requests that another was answered before.
    pub overtaken: AtomicU64,
}

impl Overtaking {
    /// Where no other request comes, this one goes on.
    const LONGEST: Duration = Duration::from_millis(200);

    async fn pass(&self) {
        if !self.on.load(Ordering::SeqCst) {
            return;
        }
        if self.requests.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
            self.answered.notify_one();
            return;
        }
        let other = tokio::time::timeout(Self::LONGEST, self.answered.notified());
        let overtaken = other.await.is_ok();
        self.overtaken
            .fetch_add(u64::from(overtaken), Ordering::SeqCst);
    }
}

impl Default for FakeGenerator {
    fn default() -> Self {
        let allowance = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS / 2));
        Self {
            asked: Arc::default(),
            rule: Arc::new(Mutex::new(|spec| Ok(image(spec, "good")))),
            allowance,
            models: None,
            overtaking: Arc::default(),
        }
    }
}

/// A candidate of this text, different for each seed.
pub fn image(spec: &CandidateSpec, text: &str) -> Candidate {
    let fault = if text == "good" {
        Fault::None
    } else {
        Fault::Blurred
    };
    Candidate {
        candidate_id: spec.candidate_id.clone(),
        outcome: Outcome::Image.into(),
        image: Some(Image {
            data: format!("{} {text} {}", spec.target_label, spec.seed).into(),
            ..Image::default()
        }),
        truth: Some(Truth {
            fault: fault.into(),
        }),
        ..Candidate::default()
    }
}

#[tonic::async_trait]
impl GeneratorService for FakeGenerator {
    async fn list_backends(
        &self,
        _: Request<ListBackendsRequest>,
    ) -> Result<Response<ListBackendsResponse>, Status> {
        let backend = |(name, exemplars, cost_usd): (&str, u32, f64)| Backend {
            name: name.into(),
            exemplars,
            deterministic: name == "same-again",
            cost_usd,
            ..Backend::default()
        };
        let backends = [
            ("fake", 2, 0.0),
            ("paid", 0, 0.04),
            ("as-dear", 0, 0.04),
            ("local-diffusion", 0, 0.0),
            ("same-again", 2, 0.0),
        ];
        Ok(Response::new(ListBackendsResponse {
            backends: backends.map(backend).into(),
        }))
    }

    async fn check_keys(
        &self,
        _: Request<CheckKeysRequest>,
    ) -> Result<Response<CheckKeysResponse>, Status> {
        Ok(Response::new(CheckKeysResponse::default()))
    }

    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<GenerateResponse>, Status> {
        let spec = request.into_inner().spec.unwrap();
        if let Some(models) = &self.models {
            models.check_loaded(&spec.parameters["model"])?;
        }
        self.allowance.acquire().await.unwrap().forget();
        self.overtaking.pass().await;
        let rule = *self.rule.lock().unwrap();
        let answer = rule(&spec);
        self.asked.lock().unwrap().push(spec);
        Ok(Response::new(GenerateResponse {
            candidate: Some(answer?),
        }))
    }

    type GenerateStreamStream = Answers<GenerateStreamResponse>;

    async fn generate_stream(
        &self,
        _: Request<Streaming<GenerateStreamRequest>>,
    ) -> Result<Response<Self::GenerateStreamStream>, Status> {
        Err(Status::unimplemented("not in tests"))
    }
}
