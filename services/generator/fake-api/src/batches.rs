//! Batches as Gemini makes them: requests that are sent together, looked at, and answered together.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::{Asked, Shared, answer, asked_of};

/// Batches of one page of the list, however many are asked for.
const PAGE: usize = 2;

/// The batches there are, by number.
#[derive(Default)]
pub(crate) struct Batches {
    all: BTreeMap<u64, Batch>,
    looks: usize,
}

struct Batch {
    key: String,
    label: String,
    responses: Vec<Value>,
    looks_left: u32,
    expires: bool,
}

impl Batches {
    /// How often one was looked at.
    pub(crate) fn looks(&self) -> usize {
        self.looks
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }
}

/// Takes a batch; a fault that is no answer is one of the taking.
pub(crate) async fn take(shared: &Shared, headers: &HeaderMap, body: &Value) -> Response {
    let whole = asked_of(headers, &Value::Null);
    let settings = shared.settings.lock().unwrap().clone();
    let fault = {
        let mut state = shared.state.lock().unwrap();
        let bad = settings.bad_keys.contains(&whole.key);
        let passing = |fault: &mut Fault| {
            matches!(
                fault,
                Fault::Quota(_) | Fault::Unavailable | Fault::CutOff | Fault::NotJson
            )
        };
        if bad {
            Some(Fault::BadKey)
        } else {
            state.next.pop_front_if(passing)
        }
    };
    if fault.is_some() {
        return answer::response(answer::Api::Gemini, fault, Vec::new);
    }
    let entries = body["batch"]["inputConfig"]["requests"]["requests"].as_array();
    let mut responses = Vec::new();
    for entry in entries.into_iter().flatten() {
        let asked = asked_of(headers, &entry["request"]);
        let mut response = one(shared, asked).await;
        response["metadata"] = entry["metadata"].clone();
        responses.push(response);
    }
    let label = body["batch"]["displayName"].as_str().unwrap();
    let batch = Batch {
        key: whole.key,
        label: label.to_owned(),
        responses,
        looks_left: settings.batch_looks,
        expires: settings.batches_expire,
    };
    let number = {
        let mut state = shared.state.lock().unwrap();
        let number = state.batches.all.len() as u64 + 1;
        state.batches.all.insert(number, batch);
        number
    };
    tokio::time::sleep(settings.batch_latency).await;
    let (name, metadata) = (name(number), json!({"state": "BATCH_STATE_PENDING"}));
    axum::Json(json!({"name": name, "metadata": metadata})).into_response()
}

fn name(number: u64) -> String {
    format!("batches/{number}")
}

/// Lists the batches of a key, the latest first, page by page, without their answers.
pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let key = asked_of(&headers, &Value::Null).key;
    let mut parameters = uri.query().unwrap_or_default().split('&');
    let token = parameters.find_map(|parameter| parameter.strip_prefix("pageToken=before-"));
    let before = token.map_or(u64::MAX, |token| token.parse().unwrap());
    let state = shared.state.lock().unwrap();
    let older = state.batches.all.range(..before).rev();
    let mut own = older.filter(|(_, batch)| batch.key == key).peekable();
    let mut operations = Vec::new();
    let mut last = 0;
    for (number, batch) in own.by_ref().take(PAGE) {
        let metadata = json!({"displayName": batch.label, "state": "BATCH_STATE_RUNNING"});
        operations.push(json!({"name": name(*number), "metadata": metadata}));
        last = *number;
    }
    let mut page = json!({"operations": operations});
    if own.peek().is_some() {
        page["nextPageToken"] = json!(format!("before-{last}"));
    }
    axum::Json(page).into_response()
}

/// The answer to one request of a batch.
async fn one(shared: &Shared, asked: Asked) -> Value {
    let answered = shared.answer(asked, answer::Api::Gemini).await;
    let good = answered.status() == StatusCode::OK;
    let body = to_bytes(answered.into_body(), usize::MAX).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    if good {
        json!({"response": body})
    } else {
        json!({"error": body["error"]})
    }
}

/// Shows a batch to whoever has its key.
pub(crate) async fn look(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<u64>,
    headers: HeaderMap,
) -> Response {
    let mut state = shared.state.lock().unwrap();
    state.batches.looks += 1;
    let name = name(id);
    let key = asked_of(&headers, &Value::Null).key;
    let found = state.batches.all.get_mut(&id);
    let Some(batch) = found.filter(|batch| batch.key == key) else {
        let error =
            json!({"error": {"code": 404, "message": "no such batch", "status": "NOT_FOUND"}});
        return (StatusCode::NOT_FOUND, axum::Json(error)).into_response();
    };
    let shown = if batch.looks_left > 0 {
        batch.looks_left -= 1;
        json!({"name": name, "metadata": {"state": "BATCH_STATE_RUNNING"}})
    } else if batch.expires {
        json!({"name": name, "metadata": {"state": "BATCH_STATE_EXPIRED"}})
    } else {
        json!({
            "name": name, "done": true, "metadata": {"state": "BATCH_STATE_SUCCEEDED"},
            "response": {"inlinedResponses": {"inlinedResponses": batch.responses}},
        })
    };
    axum::Json(shown).into_response()
}
