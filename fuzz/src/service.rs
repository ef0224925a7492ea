//! The services in this process: their real handlers behind the real codec, without a connection.

use std::panic;

use saga_chassis::{ModelConfig, Server, ServerConfig};
use tokio::runtime::{Builder, Runtime};
use tonic::{Code, Response, Status, service::Routes};

use crate::{MAX_PIXELS, model};

/// A service that has started.
pub struct Service {
    runtime: Runtime,
    routes: Routes,
}

impl Service {
    /// The classifier with a ViT.
    pub fn vit_classifier() -> Self {
        let mut config = vit_classifier::Config::default();
        free_port(&mut config.server);
        load(&mut config.model, "vit");
        config.limits.max_pixels = MAX_PIXELS;
        Self::start(vit_classifier::server(config))
    }

    /// The gate of semantics with a CLIP.
    pub fn clip_gate() -> Self {
        let mut config = clip_gate::Config::default();
        free_port(&mut config.server);
        load(&mut config.model, "clip");
        config.limits.max_pixels = MAX_PIXELS;
        Self::start(clip_gate::server(config))
    }

    /// The gate of quality.
    pub fn quality_gate() -> Self {
        let mut config = quality_gate::Config::default();
        free_port(&mut config.server);
        config.limits.max_pixels = MAX_PIXELS;
        Self::start(quality_gate::server(config))
    }

    /// The gate of structure.
    pub fn ssim_gate() -> Self {
        let mut config = ssim_gate::Config::default();
        free_port(&mut config.server);
        config.limits.max_pixels = MAX_PIXELS;
        // The cache of sources is full soon, so that it is exercised, and memory stays level.
        config.work.cache_bytes = 4 << 20;
        Self::start(ssim_gate::server(config))
    }

    fn start(server: impl Future<Output = anyhow::Result<Server>>) -> Self {
        // libFuzzer's hook aborts at any panic, even where a decoder's is caught and the image refused. Those that nothing
        // catches end the process all the same, and those of a worker show as INTERNAL.
        let _ = panic::take_hook();
        saga_models::tch::set_num_threads(1);
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("an asynchronous runtime");
        let server = runtime.block_on(server).expect("a service");
        Self {
            routes: server.into_routes(),
            runtime,
        }
    }

    /// The answer of a call, where it was not refused.
    ///
    /// # Panics
    /// Where it was refused for another reason than the request: nothing that a request holds is the service's fault, and
    /// nobody else asks this service.
    pub fn ask<T, F>(&self, call: impl FnOnce(Routes) -> F) -> Option<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        match self.runtime.block_on(call(self.routes.clone())) {
            Ok(response) => Some(response.into_inner()),
            Err(status) => {
                blame(status.code(), status.message());
                None
            }
        }
    }

    /// All answers of a stream.
    pub fn collect<T>(&self, answers: tonic::Streaming<T>) -> Vec<T> {
        use tokio_stream::StreamExt as _;
        let answers = answers.map(|answer| answer.expect("errors of items are answers"));
        self.runtime.block_on(answers.collect())
    }
}

/// Checks that a refusal is the request's fault.
///
/// # Panics
/// Where it is not.
pub fn blame(code: Code, message: &str) {
    // It travels in a header.
    assert!(message.len() < 2_000, "{} bytes", message.len());
    assert!(
        matches!(code, Code::InvalidArgument | Code::NotFound),
        "{code:?}: {message}"
    );
}

fn free_port(server: &mut ServerConfig) {
    server.listen = ([127, 0, 0, 1], 0).into();
}

fn load(config: &mut ModelConfig, name: &str) {
    config.directory = model(name);
    config.device = "cpu".to_owned();
    config.precision = "f32".to_owned();
}
