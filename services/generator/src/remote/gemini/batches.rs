//! Gemini's batches with their requests and answers inside the call.

use futures::future::BoxFuture;

use reqwest::Url;

use super::{Gemini, KEY_HEADER, answer, wire};
use crate::remote::answers::Failure;
use crate::remote::batch::{BatchConfig, Batches, Entry, EntryAnswer, Label, Seen};
use crate::remote::http::Http;
use crate::remote::keys::Secret;

/// Batches of one page of the list, and pages that are read: a list that is longer has no end.
const PAGE: usize = 100;
const MAX_PAGES: usize = 1_000;

impl Batches for Gemini {
    fn config(&self) -> &BatchConfig {
        &self.config.batch
    }

    fn submit<'a>(
        &'a self,
        http: &'a Http,
        label: &'a Label,
        entries: &'a [Entry],
        key: &'a Secret,
    ) -> BoxFuture<'a, Result<String, Failure>> {
        Box::pin(async move {
            let Some(first) = entries.first() else {
                return Err(Failure::Rejected("a batch of no requests".to_owned()));
            };
            let model = &first.prepared.model;
            let requests = entries.iter().map(|entry| wire::BatchEntry {
                request: self.body(&entry.spec, &entry.prepared),
                metadata: wire::Metadata {
                    key: entry.permit.clone(),
                    price: entry.prepared.price,
                },
            });
            let body = wire::BatchRequest::new(model, label.as_str(), requests.collect());
            let url = format!("{}/models/{model}:batchGenerateContent", self.config.base());
            let request = http.post(&url).header(KEY_HEADER, key.expose()).json(&body);
            let answer = http.send(request).await?;
            if !answer.status.is_success() {
                return Err(wire::failure(&answer));
            }
            let operation: wire::Operation =
                serde_json::from_slice(&answer.body).map_err(|error| answer.unreadable(&error))?;
            if is_name(&operation.name) {
                Ok(operation.name)
            } else {
                let name = operation.name;
                Err(Failure::Lost(format!("'{name}' is no name of a batch")))
            }
        })
    }

    fn find<'a>(
        &'a self,
        http: &'a Http,
        label: &'a Label,
        key: &'a Secret,
    ) -> BoxFuture<'a, Result<Option<String>, Failure>> {
        Box::pin(async move {
            let mut page = String::new();
            for _ in 0..MAX_PAGES {
                let batches = self.list(http, &page, key).await?;
                let ours = |batch: &wire::Listed| {
                    batch.metadata.display_name == label.as_str() && is_name(&batch.name)
                };
                if let Some(found) = batches.operations.into_iter().find(ours) {
                    return Ok(Some(found.name));
                }
                if batches.next_page_token.is_empty() {
                    return Ok(None);
                }
                page = batches.next_page_token;
            }
            let why = format!("the list of batches has more than {MAX_PAGES} pages");
            Err(Failure::Unavailable(why))
        })
    }

    fn look<'a>(
        &'a self,
        http: &'a Http,
        name: &'a str,
        key: &'a Secret,
    ) -> BoxFuture<'a, Result<Seen, Failure>> {
        Box::pin(async move {
            let url = format!("{}/{name}", self.config.base());
            let request = http.get(&url).header(KEY_HEADER, key.expose());
            let answer = http
                .send_for(request, self.config.batch.max_requests)
                .await?;
            if !answer.status.is_success() {
                return Err(wire::failure(&answer));
            }
            let operation: wire::Operation =
                serde_json::from_slice(&answer.body).map_err(|error| answer.unreadable(&error))?;
            Ok(seen(operation))
        })
    }
}

impl Gemini {
    /// A page of the key's batches; the first where `page` is empty.
    async fn list(&self, http: &Http, page: &str, key: &Secret) -> Result<wire::List, Failure> {
        let size = PAGE.to_string();
        let parameters = [("pageSize", size.as_str()), ("pageToken", page)];
        let given = parameters.iter().filter(|(_, value)| !value.is_empty());
        let url = Url::parse_with_params(&format!("{}/batches", self.config.base()), given);
        let url = url.map_err(|error| Failure::Rejected(error.to_string()))?;
        let request = http.get(url.as_str()).header(KEY_HEADER, key.expose());
        let answer = http.send_for(request, PAGE).await?;
        if !answer.status.is_success() {
            return Err(wire::failure(&answer));
        }
        serde_json::from_slice(&answer.body).map_err(|error| answer.unreadable(&error))
    }
}

/// The name goes into a URL.
fn is_name(name: &str) -> bool {
    let id = name.strip_prefix("batches/").unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !id.is_empty() && id.chars().all(plain)
}

fn seen(operation: wire::Operation) -> Seen {
    let wire::Operation {
        done,
        error,
        response,
        metadata,
        ..
    } = operation;
    if let Some(error) = error {
        return Seen::Failed(error.message);
    }
    if let Some(response) = response {
        let answers = response.inlined_responses.inlined_responses.into_iter();
        return Seen::Answered(answers.map(entry_answer).collect());
    }
    // A batch that was cancelled or has expired is not always told as an error.
    let state = metadata.state;
    let ended = ["FAILED", "CANCELLED", "EXPIRED"];
    if done || ended.iter().any(|end| state.ends_with(end)) {
        return Seen::Failed(format!("it ended as {state} without answers"));
    }
    Seen::Running
}

fn entry_answer(one: wire::InlinedResponse) -> EntryAnswer {
    let ended = match (one.response, one.error) {
        (Some(response), _) => Ok(answer::image(response)),
        (None, Some(error)) => Err(error.message),
        (None, None) => Err("neither answer nor error".to_owned()),
    };
    EntryAnswer {
        permit: one.metadata.key,
        price: one.metadata.price,
        outcome: ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Outcome, Without};
    use crate::remote::prepared::AnswerPrice;

    fn of(json: &str) -> Seen {
        seen(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn batches_run_fail_or_bring_an_answer_to_each_request() {
        let running = r#"{"name":"batches/1","metadata":{"state":"BATCH_STATE_RUNNING"}}"#;
        assert_eq!(of(running), Seen::Running);
        let failed = r#"{"name":"batches/1","done":true,"error":{"code":3,"message":"too large"}}"#;
        assert_eq!(of(failed), Seen::Failed("too large".into()));
        for state in ["JOB_STATE_EXPIRED", "BATCH_STATE_CANCELLED"] {
            let json = format!(r#"{{"name":"batches/1","metadata":{{"state":"{state}"}}}}"#);
            assert!(matches!(of(&json), Seen::Failed(why) if why.contains(state)));
        }
        let answered = r#"{"name":"batches/1","done":true,"metadata":{"state":"BATCH_STATE_SUCCEEDED"},
            "response":{"inlinedResponses":{"inlinedResponses":[
              {"metadata":{"key":"a.0","image_usd":0.02,"no_image_usd":0.001},
               "response":{"candidates":[{"finishReason":"IMAGE_SAFETY"}]}},
              {"metadata":{"key":"b.0","image_usd":0.02,"no_image_usd":0.001},
               "error":{"code":13,"message":"internal"}}]}}}"#;
        let price = AnswerPrice {
            image_usd: 0.02,
            no_image_usd: 0.001,
        };
        let answer = |permit: &str, outcome| EntryAnswer {
            permit: permit.into(),
            price,
            outcome,
        };
        let block = Outcome::Without(Without::SafetyBlock, "IMAGE_SAFETY".into());
        let expected = [
            answer("a.0", Ok(block)),
            answer("b.0", Err("internal".into())),
        ];
        assert_eq!(of(answered), Seen::Answered(expected.to_vec()));
    }

    #[test]
    fn names_that_lead_elsewhere_are_not_followed() {
        assert!(is_name("batches/abc-12_3"));
        for name in [
            "",
            "batches/",
            "batches/../models",
            "batches/a?b",
            "files/a",
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
