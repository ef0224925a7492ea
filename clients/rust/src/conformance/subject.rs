//! The gate under test, and how a refusal is recognised.

use prost::Message;
use saga_proto::gate::v1::gate_service_client::GateServiceClient;
use saga_proto::gate::v1::{DescribeRequest, DescribeResponse, EvaluateRequest, Item, Verdict};
use saga_proto::r#type::v1::Image;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::Fixtures;
use crate::connect::Transport;

/// A connected gate, what it says of itself, and inputs for it.
pub(super) struct Subject {
    pub(super) client: GateServiceClient<Transport>,
    pub(super) description: DescribeResponse,
    pub(super) fixtures: Fixtures,
}

impl Subject {
    pub(super) async fn meet(transport: Transport, fixtures: Fixtures) -> Result<Self, String> {
        let mut client = crate::limited!(GateServiceClient::new(transport));
        let description = client
            .describe(DescribeRequest {})
            .await
            .map_err(|status| status.to_string())?
            .into_inner();
        Ok(Self {
            client,
            description,
            fixtures,
        })
    }

    /// An item with everything that any gate may need.
    pub(super) fn item(&self, candidate_id: &str) -> Item {
        let image = |data: &prost::bytes::Bytes| {
            Some(Image {
                data: data.clone(),
                blake3: String::new(),
            })
        };
        Item {
            candidate_id: candidate_id.to_owned(),
            candidate: image(&self.fixtures.candidate),
            source: image(&self.fixtures.source),
            target_label: self.fixtures.target_label.clone(),
            prompt: self.fixtures.prompt.clone(),
            ..Item::default()
        }
    }

    /// An item whose thresholds reject nothing, with `overrides` on top.
    pub(super) fn item_with(&self, overrides: &[(&str, f64)]) -> Item {
        let mut item = self.item("conformance-thresholds");
        for spec in &self.description.thresholds {
            let widest = if spec.name == "max" {
                spec.highest
            } else {
                spec.lowest
            };
            item.thresholds.insert(spec.name.clone(), widest);
        }
        item.thresholds.extend(
            overrides
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value)),
        );
        item
    }

    pub(super) async fn evaluate(&mut self, item: Option<Item>) -> Result<Verdict, Status> {
        let answer = self
            .client
            .evaluate(EvaluateRequest { item })
            .await?
            .into_inner();
        answer
            .verdict
            .ok_or_else(|| Status::unknown("the answer holds no verdict"))
    }

    /// The verdict of an item that should have one.
    pub(super) async fn verdict(&mut self, item: Item) -> Result<Verdict, String> {
        self.evaluate(Some(item))
            .await
            .map_err(|status| format!("no verdict but {}: {}", status.code(), status.message()))
    }
}

/// Whether `status` is INVALID_ARGUMENT with a BadRequest that names `field` or something inside it.
pub(super) fn refuses(status: &Status, field: &str) -> Result<(), String> {
    if status.code() != Code::InvalidArgument {
        return Err(format!(
            "{:?}, not InvalidArgument: {}",
            status.code(),
            status.message()
        ));
    }
    let Some(bad_request) = status.get_details_bad_request() else {
        return Err(format!(
            "no google.rpc.BadRequest in the details of: {}",
            status.message()
        ));
    };
    let fields: Vec<_> = bad_request
        .field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect();
    let inside = |named: &String| {
        named
            .strip_prefix(field)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    if fields.iter().any(inside) {
        Ok(())
    } else {
        Err(format!("BadRequest names {fields:?}, not {field}"))
    }
}

/// The error of a stream's item as the status that a unary call would have ended with.
pub(super) fn status_of(error: &tonic_types::Status) -> Status {
    Status::with_details(
        Code::from(error.code),
        error.message.clone(),
        error.encode_to_vec().into(),
    )
}
