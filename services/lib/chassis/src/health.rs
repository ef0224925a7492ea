//! grpc.health.v1 from one readiness per server.
//!
//! tonic-health's own reporter starts with "" SERVING and is updated asynchronously; here a service is NOT_SERVING until
//! its readiness is set, and an answer after [`Readiness::set_ready`] already shows it.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use futures::{Stream, stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health,
};

/// Turns a server's health on and off; cheap to clone, usable from any thread.
#[derive(Debug, Clone)]
pub struct Readiness {
    state: Arc<watch::Sender<State>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    ready: bool,
    draining: bool,
}

impl Readiness {
    /// Of something that a server can do without; the server's own is [`Server::readiness`](crate::Server::readiness).
    #[must_use]
    pub fn not_ready() -> Self {
        Self {
            state: Arc::new(watch::Sender::new(State {
                ready: false,
                draining: false,
            })),
        }
    }

    /// Says whether the services of this server can do their work now.
    pub fn set_ready(&self, ready: bool) {
        self.state.send_modify(|state| state.ready = ready);
    }

    /// Whether the server is ready and not draining.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let state = *self.state.borrow();
        state.ready && !state.draining
    }

    pub(crate) fn drain(&self) {
        self.state.send_modify(|state| state.draining = true);
    }
}

/// Which services a server has: name to "follows readiness". The others serve from the start.
pub(crate) struct HealthService {
    readiness: Readiness,
    services: HashMap<&'static str, bool>,
}

impl HealthService {
    pub(crate) fn new(readiness: Readiness, services: HashMap<&'static str, bool>) -> Self {
        Self {
            readiness,
            services,
        }
    }

    /// Whether `service` follows readiness; "" stands for the server as a whole.
    fn follows(&self, service: &str) -> Result<bool, Status> {
        if service.is_empty() {
            return Ok(true);
        }
        self.services.get(service).copied().ok_or_else(|| {
            Status::not_found(format!(
                "this server has no service {service:?}; reflection lists those it has"
            ))
        })
    }
}

fn answer(state: State, follows: bool) -> HealthCheckResponse {
    let serving = !state.draining && (state.ready || !follows);
    let status = if serving {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let follows = self.follows(&request.get_ref().service)?;
        Ok(Response::new(answer(
            *self.readiness.state.borrow(),
            follows,
        )))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let follows = self.follows(&request.get_ref().service)?;
        let watcher = Watcher {
            states: self.readiness.state.subscribe(),
            follows,
            last: None,
            ended: false,
        };
        Ok(Response::new(Box::pin(stream::unfold(
            watcher,
            Watcher::next,
        ))))
    }
}

/// One caller of Watch: told of each change, and let go when the drain begins so that it does not hold the drain up.
struct Watcher {
    states: watch::Receiver<State>,
    follows: bool,
    last: Option<i32>,
    ended: bool,
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        while !self.ended {
            let state = *self.states.borrow_and_update();
            self.ended = state.draining;
            let answer = answer(state, self.follows);
            if self.last.replace(answer.status) != Some(answer.status) {
                return Some((Ok(answer), self));
            }
            if !self.ended {
                self.states.changed().await.ok()?;
            }
        }
        None
    }
}
