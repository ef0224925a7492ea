//! A local server that behaves like the remote image APIs, for tests and measurements: Gemini's `generateContent` and
//! `batchGenerateContent`, OpenAI's `/images/edits` and `/images/generations`, with quotas, latency, and every fault that such servers have.
//!
//! It remembers what it was asked, so that a test can tell whether a quota was exceeded or an image was made twice.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answer;
mod batches;
mod fault;
mod quota;

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use fault::Fault;
use quota::Quotas;

/// A request, understood.
#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Instant,
    /// The secret that came with it.
    pub key: String,
    pub prompt: String,
    pub source: Option<Vec<u8>>,
    pub seed: Option<u64>,
    /// Whether it was answered with an image.
    pub with_image: bool,
    /// The schema of the JSON that was asked for.
    pub schema: Option<Value>,
}

/// Makes the image of an answer: encoded bytes.
pub type Painter = Arc<dyn Fn(&Asked) -> Vec<u8> + Send + Sync>;

/// How the server behaves.
#[derive(Clone)]
pub struct Settings {
    /// Requests that a key may make in any [`Settings::window`]; `None`: any number.
    pub quota: Option<u32>,
    pub window: Duration,
    /// Time that an answer takes.
    pub latency: Duration,
    /// Share of requests that end in a fault of [`Settings::faults`], drawn with [`Settings::seed`].
    pub fault_share: f64,
    pub faults: Vec<Fault>,
    pub seed: u64,
    /// Secrets that are not taken.
    pub bad_keys: HashSet<String>,
    /// Time between the taking of a batch and the answer that it was taken.
    pub batch_latency: Duration,
    /// How many looks find a batch at work.
    pub batch_looks: u32,
    /// Whether new batches end without answers.
    pub batches_expire: bool,
    pub painter: Painter,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            quota: None,
            window: Duration::from_secs(60),
            latency: Duration::ZERO,
            fault_share: 0.0,
            faults: Vec::new(),
            seed: 1,
            bad_keys: HashSet::new(),
            batch_latency: Duration::ZERO,
            batch_looks: 0,
            batches_expire: false,
            painter: Arc::new(noise),
        }
    }
}

/// The running server; ends when dropped.
pub struct FakeApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    settings: Mutex<Settings>,
    state: Mutex<Served>,
}

struct Served {
    asked: Vec<Asked>,
    quotas: Quotas,
    next: VecDeque<Fault>,
    batches: batches::Batches,
    random: ChaCha8Rng,
}

impl FakeApi {
    /// Serves on a free port of loopback.
    pub async fn start(settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Served {
            asked: Vec::new(),
            quotas: Quotas::default(),
            next: VecDeque::new(),
            batches: batches::Batches::default(),
            random: ChaCha8Rng::seed_from_u64(settings.seed),
        };
        let shared = Arc::new(Shared {
            settings: Mutex::new(settings),
            state: Mutex::new(state),
        });
        let router = Router::new()
            .route("/v1beta/models/{call}", post(gemini).get(probe))
            .route("/v1beta/batches", get(batches::list))
            .route("/v1beta/batches/{id}", get(batches::look))
            .route("/v1/models", get(probe))
            .route("/v1/images/generations", post(generations))
            .route("/v1/images/edits", post(edits))
            .layer(DefaultBodyLimit::max(1 << 28))
            .with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            shared,
            task,
        }
    }

    /// What `gemini.endpoint` should be.
    pub fn gemini_endpoint(&self) -> String {
        format!("http://{}/v1beta", self.address)
    }

    /// What `openai.endpoint` should be.
    pub fn openai_endpoint(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Lets the next request that has no fault in store end in this one.
    pub fn push(&self, fault: Fault) {
        self.shared.state.lock().unwrap().next.push_back(fault);
    }

    /// Changes how it behaves from now on.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.shared.settings.lock().unwrap());
    }

    /// Every request so far, in order of arrival.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.state.lock().unwrap().asked.clone()
    }

    /// Batches so far, and looks at any of them.
    pub fn batches(&self) -> (usize, usize) {
        let state = self.shared.state.lock().unwrap();
        (state.batches.count(), state.batches.looks())
    }

    /// The most requests that any key made in any window.
    pub fn most_in_a_window(&self) -> usize {
        self.shared.state.lock().unwrap().quotas.most()
    }
}

impl Drop for FakeApi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn gemini(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: axum::Json<Value>,
) -> Response {
    if uri.path().ends_with(":batchGenerateContent") {
        return batches::take(&shared, &headers, &body).await;
    }
    shared
        .answer(asked_of(&headers, &body), answer::Api::Gemini)
        .await
}

/// A `generateContent` request, understood.
fn asked_of(headers: &HeaderMap, body: &Value) -> Asked {
    let parts = body["contents"][0]["parts"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let text = parts.iter().find_map(|part| part["text"].as_str());
    let source = parts
        .iter()
        .find_map(|part| part["inlineData"]["data"].as_str());
    Asked {
        at: Instant::now(),
        key: header(headers, "x-goog-api-key"),
        prompt: text.unwrap_or_default().to_owned(),
        source: source.map(|text| BASE64_STANDARD.decode(text).unwrap()),
        seed: body["generationConfig"]["seed"].as_u64(),
        with_image: false,
        schema: body["generationConfig"].get("responseSchema").cloned(),
    }
}

/// Tells whether a key is good.
async fn probe(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Response {
    let api = match uri.path().starts_with("/v1beta") {
        true => answer::Api::Gemini,
        false => answer::Api::OpenAi,
    };
    let key = header(&headers, "x-goog-api-key") + &bearer(&headers);
    let bad = shared.settings.lock().unwrap().bad_keys.contains(&key);
    answer::response(api, bad.then_some(Fault::BadKey), Vec::new)
}

async fn generations(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: axum::Json<Value>,
) -> Response {
    let asked = Asked {
        at: Instant::now(),
        key: bearer(&headers),
        prompt: body["prompt"].as_str().unwrap_or_default().to_owned(),
        source: None,
        seed: body["seed"].as_u64(),
        with_image: false,
        schema: None,
    };
    shared.answer(asked, answer::Api::OpenAi).await
}

async fn edits(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    mut form: axum::extract::Multipart,
) -> Response {
    let mut asked = Asked {
        at: Instant::now(),
        key: bearer(&headers),
        prompt: String::new(),
        source: None,
        seed: None,
        with_image: false,
        schema: None,
    };
    while let Some(field) = form.next_field().await.unwrap() {
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "image" => {
                assert!(field.file_name().is_some(), "{uri} wants a file");
                asked.source = Some(field.bytes().await.unwrap().to_vec());
            }
            "prompt" => asked.prompt = field.text().await.unwrap(),
            "seed" => asked.seed = field.text().await.unwrap().parse().ok(),
            _ => {}
        }
    }
    shared.answer(asked, answer::Api::OpenAi).await
}

impl Shared {
    async fn answer(&self, mut asked: Asked, api: answer::Api) -> Response {
        let settings = self.settings.lock().unwrap().clone();
        let fault = {
            let mut state = self.state.lock().unwrap();
            let fault = state.fault(&asked, &settings);
            asked.with_image = fault.is_none_or(Fault::has_image);
            state.asked.push(asked.clone());
            fault
        };
        tokio::time::sleep(settings.latency).await;
        if let Some(Fault::Slow(time)) = fault {
            tokio::time::sleep(time).await;
        }
        match (&asked.schema, fault) {
            (Some(schema), None | Some(Fault::Slow(_))) => answer::words(schema),
            _ => answer::response(api, fault, || (settings.painter)(&asked)),
        }
    }
}

impl Served {
    /// What goes wrong with this request.
    fn fault(&mut self, asked: &Asked, settings: &Settings) -> Option<Fault> {
        let within = self.quotas.count(&asked.key, asked.at, settings.window);
        if settings.bad_keys.contains(&asked.key) {
            return Some(Fault::BadKey);
        }
        if settings.quota.is_some_and(|quota| within > quota as usize) {
            return Some(Fault::Quota(Duration::from_secs(1)));
        }
        if let Some(fault) = self.next.pop_front() {
            return Some(fault);
        }
        let drawn = self.random.random_bool(settings.fault_share);
        let which = self.random.random_range(0..settings.faults.len().max(1));
        settings.faults.get(which).copied().filter(|_| drawn)
    }
}

fn header(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

fn bearer(headers: &HeaderMap) -> String {
    header(headers, "authorization")
        .trim_start_matches("Bearer ")
        .to_owned()
}

/// A PNG of noise that differs with prompt, source and seed.
fn noise(asked: &Asked) -> Vec<u8> {
    let text = format!("{} {:?} {:?}", asked.prompt, asked.source, asked.seed);
    let mut random = ChaCha8Rng::from_seed(*blake3::hash(text.as_bytes()).as_bytes());
    let picture = image::RgbImage::from_fn(48, 48, |_, _| {
        image::Rgb([random.random(), random.random(), random.random()])
    });
    let mut file = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut file, image::ImageFormat::Png)
        .unwrap();
    file.into_inner()
}
