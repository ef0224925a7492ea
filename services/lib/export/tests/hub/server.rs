//! A server that speaks the hub's protocol on loopback, with every fault that a hub has. It remembers what it was asked.

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub const TOKEN: &str = "hf_correct";
/// Files of so many bytes are large ones.
const LARGE: u64 = 1000;

/// How a request goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Status(u16),
    /// The connection breaks before the answer is whole.
    Break,
}

#[derive(Default)]
pub struct Kept {
    pub repositories: HashSet<String>,
    /// Content by SHA-256.
    pub objects: HashMap<String, Vec<u8>>,
    pub verified: Vec<String>,
    /// Of the last commit: small files by path, and SHA-256 of large ones.
    pub files: BTreeMap<String, Vec<u8>>,
    pub large: BTreeMap<String, String>,
    pub commits: usize,
    /// Every request: its step, and whether the token came with it.
    pub asked: Vec<(&'static str, bool)>,
    pub faults: VecDeque<(&'static str, Fault)>,
    /// Bytes of a part; none: files are sent whole.
    pub parts: Option<usize>,
    pub private: Option<bool>,
    unfinished: BTreeMap<(String, usize), Vec<u8>>,
}

pub struct Hub {
    pub endpoint: String,
    pub kept: Arc<Mutex<Kept>>,
    task: JoinHandle<()>,
}

type Shared = State<(String, Arc<Mutex<Kept>>)>;

impl Hub {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let kept = Arc::new(Mutex::new(Kept::default()));
        let router = Router::new()
            .route("/api/repos/create", post(create))
            .route("/api/models/{owner}/{name}", get(known))
            .route("/api/models/{owner}/{name}/preupload/main", post(preupload))
            .route("/{owner}/{name}/info/lfs/objects/batch", post(batch))
            .route("/storage/{oid}", put(whole).post(complete))
            .route("/storage/{oid}/{part}", put(part))
            .route("/verify", post(verify))
            .route("/api/models/{owner}/{name}/commit/main", post(commit))
            .layer(DefaultBodyLimit::max(1 << 26))
            .with_state((endpoint.clone(), kept.clone()));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            endpoint,
            kept,
            task,
        }
    }

    /// Lets the next request of this step end so.
    pub fn fail(&self, step: &'static str, fault: Fault) {
        self.kept.lock().unwrap().faults.push_back((step, fault));
    }

    pub fn count(&self, step: &str) -> usize {
        let kept = self.kept.lock().unwrap();
        kept.asked
            .iter()
            .filter(|(asked, _)| *asked == step)
            .count()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Notes a request; tells how it goes wrong, if it does.
fn begin(kept: &mut Kept, step: &'static str, headers: &HeaderMap) -> Option<Response> {
    let token = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    kept.asked.push((step, token.is_some()));
    let place = kept.faults.iter().position(|(at, _)| *at == step);
    match place
        .and_then(|place| kept.faults.remove(place))
        .map(|(_, fault)| fault)
    {
        Some(Fault::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap();
            return Some((status, Json(json!({"error": "as the test says"}))).into_response());
        }
        Some(Fault::Break) => {
            let broken = futures::stream::iter([
                Ok(Bytes::from("{")),
                Err(std::io::Error::other("pulled the plug")),
            ]);
            return Some(Body::from_stream(broken).into_response());
        }
        None => {}
    }
    // Storage knows its visitors by the address alone.
    let is_storage = step == "put";
    let right = is_storage || token == Some(&format!("Bearer {TOKEN}"));
    (!right).then(|| {
        (
            StatusCode::UNAUTHORIZED,
            [("x-error-message", "Invalid credentials")],
            "",
        )
            .into_response()
    })
}

async fn create(State((_, kept)): Shared, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let mut kept = kept.lock().unwrap();
    if let Some(fault) = begin(&mut kept, "create", &headers) {
        return fault;
    }
    let name = format!(
        "{}/{}",
        body["organization"].as_str().unwrap(),
        body["name"].as_str().unwrap()
    );
    // A model is what a repository holds where nobody says.
    assert!(body.get("type").is_none_or(|kind| kind == "model"));
    match kept.repositories.insert(name) {
        true => {
            kept.private = body["private"].as_bool();
            Json(json!({"url": "there"})).into_response()
        }
        false => (StatusCode::CONFLICT, "You already created this model repo").into_response(),
    }
}

async fn known(
    State((_, kept)): Shared,
    Path((owner, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let mut kept = kept.lock().unwrap();
    if let Some(fault) = begin(&mut kept, "known", &headers) {
        return fault;
    }
    match kept.repositories.contains(&format!("{owner}/{name}")) {
        true => Json(json!({})).into_response(),
        false => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn preupload(
    State((_, kept)): Shared,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let mut kept = kept.lock().unwrap();
    if let Some(fault) = begin(&mut kept, "preupload", &headers) {
        return fault;
    }
    let answer = |file: &Value| {
        let path = file["path"].as_str().unwrap();
        let mode = if file["size"].as_u64().unwrap() >= LARGE {
            "lfs"
        } else {
            "regular"
        };
        json!({"path": path, "uploadMode": mode, "shouldIgnore": path.ends_with(".tmp"), "oid": kept.large.get(path)})
    };
    let files: Vec<Value> = body["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(answer)
        .collect();
    Json(json!({"files": files})).into_response()
}

async fn batch(
    State((endpoint, kept)): Shared,
    Path((_, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut kept = kept.lock().unwrap();
    if let Some(fault) = begin(&mut kept, "batch", &headers) {
        return fault;
    }
    assert!(name.ends_with(".git"));
    assert_eq!(headers["content-type"], "application/vnd.git-lfs+json");
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&body["operation"], &body["hash_algo"]),
        (&json!("upload"), &json!("sha256"))
    );
    let answer = |object: &Value| {
        let (oid, size) = (
            object["oid"].as_str().unwrap(),
            object["size"].as_u64().unwrap(),
        );
        if kept.objects.contains_key(oid) {
            return json!({"oid": oid, "size": size});
        }
        let href = format!("{endpoint}/storage/{oid}");
        let mut header = serde_json::Map::new();
        if let Some(parts) = kept.parts {
            header.insert("chunk_size".into(), json!(parts.to_string()));
            for part in 1..=size.div_ceil(parts as u64) {
                header.insert(format!("{part:05}"), json!(format!("{href}/{part}")));
            }
        }
        let verify = json!({"href": format!("{endpoint}/verify")});
        json!({"oid": oid, "size": size, "actions": {"upload": {"href": href, "header": header}, "verify": verify}})
    };
    let objects: Vec<Value> = body["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(answer)
        .collect();
    Json(json!({"transfer": "basic", "objects": objects})).into_response()
}

async fn whole(
    State((_, kept)): Shared,
    Path(oid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut kept = kept.lock().unwrap();
    if let Some(fault) = begin(&mut kept, "put", &headers) {
        return fault;
    }
    assert_eq!(
        headers["content-length"].to_str().unwrap(),
        body.len().to_string()
    );
    kept.objects.insert(oid, body.to_vec());
    StatusCode::OK.into_response()
}

async fn part(
    State((_, kept)): Shared,
    Path((oid, part)): Path<(String, usize)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut kept = kept.lock().unwrap();
    if let Some(fault) = begin(&mut kept, "put", &headers) {
        return fault;
    }
    kept.unfinished.insert((oid, part), body.to_vec());
    [("etag", format!("\"part-{part}\""))].into_response()
}

async fn complete(
    State((_, kept)): Shared,
    Path(oid): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let mut kept = kept.lock().unwrap();
    if let Some(fault) = begin(&mut kept, "complete", &headers) {
        return fault;
    }
    let parts = body["parts"].as_array().unwrap();
    let mut content = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        assert_eq!(part["partNumber"], index + 1);
        assert_eq!(part["etag"], format!("\"part-{}\"", index + 1));
        content.extend(kept.unfinished.remove(&(oid.clone(), index + 1)).unwrap());
    }
    kept.objects.insert(oid, content);
    StatusCode::OK.into_response()
}

async fn verify(State((_, kept)): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let mut kept = kept.lock().unwrap();
    if let Some(fault) = begin(&mut kept, "verify", &headers) {
        return fault;
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    let oid = body["oid"].as_str().unwrap().to_owned();
    match kept.objects.get(&oid).map(|content| content.len() as u64) == body["size"].as_u64() {
        true => {
            kept.verified.push(oid);
            StatusCode::OK.into_response()
        }
        false => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn commit(State((endpoint, kept)): Shared, headers: HeaderMap, body: String) -> Response {
    use base64::Engine as _;

    let mut kept = kept.lock().unwrap();
    if let Some(fault) = begin(&mut kept, "commit", &headers) {
        return fault;
    }
    assert_eq!(headers["content-type"], "application/x-ndjson");
    let lines: Vec<Value> = body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["key"], "header");
    assert!(lines[0]["value"]["summary"].is_string());
    for line in &lines[1..] {
        let value = &line["value"];
        let path = value["path"].as_str().unwrap().to_owned();
        match line["key"].as_str().unwrap() {
            "file" => {
                let content =
                    base64::prelude::BASE64_STANDARD.decode(value["content"].as_str().unwrap());
                kept.files.insert(path, content.unwrap());
            }
            "lfsFile" => {
                let oid = value["oid"].as_str().unwrap().to_owned();
                if !kept.objects.contains_key(&oid) {
                    return (
                        StatusCode::BAD_REQUEST,
                        "LFS pointer to a file that is not there",
                    )
                        .into_response();
                }
                kept.large.insert(path, oid);
            }
            other => panic!("{other}"),
        }
    }
    kept.commits += 1;
    let number = kept.commits;
    Json(json!({"commitUrl": format!("{endpoint}/lab/vit/commit/{number}"), "commitOid": number.to_string()})).into_response()
}
