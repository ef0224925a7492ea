//! A third party's gate: accepts everything and keeps all that it was sent.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use saga_proto::gate::v1::{
    DescribeRequest, DescribeResponse, EvaluateRequest, EvaluateResponse, EvaluateStreamRequest,
    EvaluateStreamResponse, Item, Verdict,
    gate_service_server::{GateService, GateServiceServer},
};
use tonic::{
    Request, Response, Status, Streaming, metadata::KeyRef, transport::server::TcpIncoming,
};

/// What the gate was sent.
#[derive(Debug, Clone, Default)]
pub struct Spy {
    pub items: Arc<Mutex<Vec<Item>>>,
    /// Names of the requests' metadata.
    pub metadata: Arc<Mutex<BTreeSet<String>>>,
}

impl Spy {
    /// Serves on a free port until the test ends; needs everything that an item can hold.
    pub fn start(&self) -> String {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = incoming.local_addr().unwrap();
        let service = GateServiceServer::new(self.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(incoming));
        format!("http://{address}")
    }
}

#[tonic::async_trait]
impl GateService for Spy {
    async fn describe(
        &self,
        _: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(DescribeResponse {
            name: "spy".to_owned(),
            needs_source: true,
            needs_prompt: true,
            needs_target_label: true,
            ..DescribeResponse::default()
        }))
    }

    async fn evaluate(
        &self,
        request: Request<EvaluateRequest>,
    ) -> Result<Response<EvaluateResponse>, Status> {
        let names = request.metadata().keys().map(|key| match key {
            KeyRef::Ascii(name) => name.as_str().to_owned(),
            KeyRef::Binary(name) => name.as_str().to_owned(),
        });
        self.metadata.lock().unwrap().extend(names);
        let item = request.into_inner().item.unwrap();
        let verdict = Verdict {
            candidate_id: item.candidate_id.clone(),
            gate: "spy".to_owned(),
            accepted: true,
            reason: "ACCEPTED".to_owned(),
            ..Verdict::default()
        };
        self.items.lock().unwrap().push(item);
        Ok(Response::new(EvaluateResponse {
            verdict: Some(verdict),
        }))
    }

    type EvaluateStreamStream = futures::stream::Empty<Result<EvaluateStreamResponse, Status>>;

    async fn evaluate_stream(
        &self,
        _: Request<Streaming<EvaluateStreamRequest>>,
    ) -> Result<Response<Self::EvaluateStreamStream>, Status> {
        Err(Status::unimplemented("the cascade asks one by one"))
    }
}
