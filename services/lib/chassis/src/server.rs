//! The gRPC server: health, reflection, limits, TLS, token, and a stop that lets requests in flight finish.

use std::{
    collections::HashMap, convert::Infallible, net::SocketAddr, path::PathBuf, time::Duration,
};

use http::{Request, Response};
use saga_metrics::Metrics;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    body::Body,
    server::NamedService,
    service::{Routes, interceptor::InterceptedService},
    transport::{Server as Transport, server::TcpIncoming},
};
use tonic_health::pb::health_server::HealthServer;
use tower::Service;

use crate::{
    auth::Auth,
    config::ServerConfig,
    grpc_metrics::GrpcMetricsLayer,
    health::{HealthService, Readiness},
    metrics,
    propagation::TraceContextLayer,
    tls,
};

/// Sets the message limits of a generated server: `limited!(GateServiceServer::new(gate), config.server)`.
#[macro_export]
macro_rules! limited {
    ($service:expr, $server_config:expr $(,)?) => {{
        let limit = $server_config.max_message_bytes;
        $service
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit)
    }};
}

/// A bound port and the services that will answer on it.
pub struct Server {
    name: &'static str,
    config: ServerConfig,
    listener: TcpListener,
    address: SocketAddr,
    auth: Auth,
    transport: Transport,
    routes: Routes,
    /// Name to "follows readiness".
    services: HashMap<&'static str, bool>,
    readiness: Readiness,
    metrics: Metrics,
    /// Where the metrics are scraped.
    scrapes: Option<(TcpListener, SocketAddr)>,
    tasks: TaskTracker,
}

impl Server {
    /// Reads keys and token, then takes the ports.
    ///
    /// # Errors
    /// Unusable TLS or token files; a port that cannot be had, with its address.
    pub async fn bind(name: &'static str, config: &ServerConfig) -> Result<Self, ServeError> {
        let auth = Auth::from_file(&config.token_file)?;
        let tls = tls::from_files(config)?;
        if !config.listen.ip().is_loopback() && tls.is_none() && !auth.is_on() {
            tracing::warn!(service = name, address = %config.listen, "open to the network without TLS or token");
        }
        let mut transport = transport(config);
        if let Some(tls) = tls {
            transport = transport
                .tls_config(tls)
                .map_err(|error| ServeError::Tls(chain(&error)))?;
        }
        let (listener, address) = listen(name, "--listen", config.listen).await?;
        let scrapes = match config.metrics_listen {
            Some(address) => Some(listen(name, "--metrics-listen", address).await?),
            None => None,
        };
        let (routes, services) = (Routes::default(), HashMap::new());
        let (readiness, metrics) = (Readiness::not_ready(), Metrics::new());
        Ok(Self {
            name,
            config: config.clone(),
            listener,
            address,
            auth,
            transport,
            routes,
            services,
            readiness,
            metrics,
            scrapes,
            tasks: TaskTracker::new(),
        })
    }

    /// The address in fact taken, also where port 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The switch of this server's health: NOT_SERVING until it is turned on.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// What this server measures; it is scraped where `server.metrics_listen` says.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Work that may outlive the request it was begun for; a stop waits for it, too.
    #[must_use]
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Adds a service whose health follows [`Server::readiness`]. Wrap it in [`limited!`](crate::limited).
    #[must_use]
    pub fn add_service<S: GrpcService>(self, service: S) -> Self {
        self.add(service, true)
    }

    /// Adds a service that can be called before the others are ready, such as the one that loads models.
    #[must_use]
    pub fn add_control_service<S: GrpcService>(self, service: S) -> Self {
        self.add(service, false)
    }

    fn add<S: GrpcService>(mut self, service: S, follows_readiness: bool) -> Self {
        self.services.insert(S::NAME, follows_readiness);
        self.routes = self
            .routes
            .add_service(InterceptedService::new(service, self.auth.clone()));
        self
    }

    /// The services alone, for callers in the same process: the ports are given up, and neither health nor reflection is there.
    #[must_use]
    pub fn into_routes(self) -> Routes {
        self.routes.prepare()
    }

    /// Starts to answer, until `shutdown` is cancelled and requests in flight are done or out of time.
    ///
    /// # Errors
    /// Where the contract's descriptors cannot be served by reflection.
    pub fn start(self, shutdown: CancellationToken) -> Result<Running, ServeError> {
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(saga_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|error| ServeError::Reflection(error.to_string()))?;
        let measured = GrpcMetricsLayer::new(self.metrics.grpc().clone(), |service| {
            self.services.contains_key(service)
        });
        let health = HealthServer::new(HealthService::new(self.readiness.clone(), self.services));
        let reflection = InterceptedService::new(reflection, self.auth);
        let routes = self
            .routes
            .add_service(health)
            .add_service(reflection)
            .prepare();
        let incoming = TcpIncoming::from(self.listener).with_nodelay(Some(true));
        let (stop, drain) = (
            shutdown.clone(),
            Duration::from_secs(self.config.drain_seconds),
        );
        let readiness = self.readiness.clone();
        let serving = self
            .transport
            .layer(TraceContextLayer)
            .layer(measured)
            .serve_with_incoming_shutdown(routes, incoming, async move {
                stop.cancelled().await;
                readiness.drain();
            });
        let metrics_addr = self.scrapes.as_ref().map(|(_, address)| *address);
        // The drain can be watched: metrics are served until it is over.
        let drained = CancellationToken::new();
        if let Some((listener, _)) = self.scrapes {
            tokio::spawn(metrics::serve(listener, self.metrics, drained.clone()));
        }
        let tasks = self.tasks;
        let serving = async move {
            let served = serving.await;
            tasks.close();
            tasks.wait().await;
            served
        };
        let serving = until_drained(self.name, serving, shutdown, drain);
        let task = tokio::spawn(async move {
            let _metrics_end_with_this = drained.drop_guard();
            serving.await
        });
        Ok(Running {
            addr: self.address,
            metrics_addr,
            readiness: self.readiness,
            task,
        })
    }
}

/// What a generated gRPC server is.
pub trait GrpcService:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + NamedService
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> GrpcService for S where
    S: Service<
            Request<Body>,
            Response = Response<Body>,
            Error = Infallible,
            Future: Send + 'static,
        > + NamedService
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// A server that answers.
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Where metrics are scraped, if they are.
    pub metrics_addr: Option<SocketAddr>,
    /// The switch of its health.
    pub readiness: Readiness,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    /// Waits until the server has stopped. Cancel the token given to [`Server::start`] to make it stop.
    ///
    /// # Errors
    /// Where it stopped for another reason, or requests were cut off at the end of the drain.
    pub async fn wait(self) -> Result<(), ServeError> {
        self.task
            .await
            .unwrap_or_else(|error| Err(ServeError::Transport(error.to_string())))
    }
}

async fn until_drained(
    name: &'static str,
    serving: impl Future<Output = Result<(), tonic::transport::Error>>,
    shutdown: CancellationToken,
    drain: Duration,
) -> Result<(), ServeError> {
    let out_of_time = async {
        shutdown.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        served = serving => served.map_err(|error| ServeError::Transport(chain(&error))),
        () = out_of_time => Err(ServeError::Drain { service: name, seconds: drain.as_secs() }),
    }
}

async fn listen(
    service: &'static str,
    flag: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), ServeError> {
    let bind_error = |error| ServeError::Bind {
        service,
        flag,
        address,
        error,
    };
    let listener = TcpListener::bind(address).await.map_err(bind_error)?;
    let taken = listener.local_addr().map_err(bind_error)?;
    Ok((listener, taken))
}

fn transport(config: &ServerConfig) -> Transport {
    Transport::builder()
        .max_concurrent_streams(config.max_concurrent_streams)
        .http2_keepalive_interval(Some(Duration::from_secs(config.keepalive_seconds)))
        .http2_keepalive_timeout(Some(Duration::from_secs(config.keepalive_timeout_seconds)))
        .http2_adaptive_window(Some(true))
}

/// An error with its causes; tonic's own message is only "transport error".
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Why a server cannot start or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port cannot be had.
    #[error(
        "{service} cannot listen on {address}: {error}; choose another address with {flag} (port 0: a free one)"
    )]
    Bind {
        /// Which service.
        service: &'static str,
        /// What sets the address.
        flag: &'static str,
        /// As configured.
        address: SocketAddr,
        /// From the operating system.
        error: std::io::Error,
    },
    /// A configured file cannot be used.
    #[error("`{key}` names {}, which cannot be used: {why}", path.display())]
    File {
        /// Configuration key.
        key: &'static str,
        /// As configured.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Half of a key pair.
    #[error(
        "TLS needs `server.tls_certificate` and `server.tls_key`; `server.tls_client_ca` is used with both"
    )]
    IncompleteTls,
    /// Files that are no certificate or key.
    #[error("the TLS files are not usable: {0}")]
    Tls(String),
    /// The contract's descriptors are broken.
    #[error("reflection cannot be served: {0}")]
    Reflection(String),
    /// The transport gave up.
    #[error("the server stopped: {0}")]
    Transport(String),
    /// Requests were still in flight at the deadline.
    #[error(
        "{service}: requests still in flight after {seconds} s were cut off; `server.drain_seconds` allows more"
    )]
    Drain {
        /// Which service.
        service: &'static str,
        /// The deadline.
        seconds: u64,
    },
}
