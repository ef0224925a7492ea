//! Generation of candidates behind one service: an image of a source and a target class in, an edited image out.
//!
//! | module | idea |
//! |---|---|
//! | [`backend`] | what makes candidates, and the registry of those there are |
//! | [`studio`], [`studio_backend`] | a renderer of faces that edits its own pictures and plants known faults |
//! | [`exemplar`], [`exemplar_backend`] | edits real photographs with parts of real photographs |
//! | [`remote`] | asks servers over HTTP: Gemini, and any of OpenAI's images API |
//! | [`stable_diffusion`] | Stable Diffusion on this machine |
//! | [`local_diffusion`] | a small diffusion model trained on the data set itself |
//! | [`words`] | what is asked of text models, and whether their answer is that |
//! | [`parameters`] | settings of a backend given by name in a request |
//! | [`pool`] | the threads that do the work, with bounded room |
//! | [`grpc`] | the contract `saga.generator.v1` |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod backend;
pub mod config;
mod denoising;
pub mod error;
pub mod exemplar;
pub mod exemplar_backend;
pub mod grpc;
pub mod local_diffusion;
pub mod parameters;
pub mod pool;
pub mod remote;
pub mod stable_diffusion;
pub mod studio;
pub mod studio_backend;
pub mod words;

use std::sync::Arc;

use saga_chassis::{Running, Server, limited};
use saga_proto::generator::v1::generator_service_server::GeneratorServiceServer;
use saga_proto::generator::v1::studio_service_server::StudioServiceServer;
use saga_proto::generator::v1::text_service_server::TextServiceServer;
use saga_proto::model::v1::model_service_server::ModelServiceServer;
use saga_serving::ModelServer;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use backend::{Backend, Registry};
use exemplar_backend::ExemplarBackend;
use local_diffusion::LocalDiffusion;
use pool::Pool;
use remote::RemoteBackend;
use remote::gemini::{Gemini, GeminiText};
use remote::openai::OpenAi;
use stable_diffusion::StableDiffusion;
use studio_backend::StudioBackend;

pub use config::Config;

/// Serves the backends until `shutdown`.
///
/// # Errors
/// A port that is taken; threads that cannot be had; a model that does not load.
pub async fn start(config: Config, shutdown: CancellationToken) -> anyhow::Result<Running> {
    let server = Server::bind("generator", &config.server).await?;
    let pool = Pool::new(config.work.workers)?;
    let mut backends = backends(&config, &pool, server.tasks())?;
    let (section, limits) = (
        config.stable_diffusion.clone(),
        config.limits.decode_limits(),
    );
    let local = StableDiffusion::load(section, limits, pool.clone(), server.metrics()).await?;
    if let Some(local) = local {
        backends.push(Arc::new(local));
    }
    let trained = LocalDiffusion::start(
        config.local_diffusion.clone(),
        limits,
        pool.clone(),
        server.metrics(),
    )
    .await?;
    let models = ModelServer::new(trained.models());
    backends.push(Arc::new(trained));
    let generator = grpc::Generator::new(Registry::new(backends), &config);
    let text = RemoteBackend::new(
        GeminiText::new(config.gemini.clone()),
        config.gemini.keys(),
        &config.remote,
        config.limits.decode_limits(),
        pool.clone(),
        server.tasks().clone(),
    )?;
    let text = grpc::Text::new(Registry::new(vec![Arc::new(text)]), config.limits);
    let studio = grpc::Studio::new(pool);
    let server = server
        .add_service(limited!(
            GeneratorServiceServer::new(generator),
            config.server
        ))
        .add_service(limited!(TextServiceServer::new(text), config.server))
        .add_service(limited!(StudioServiceServer::new(studio), config.server))
        .add_control_service(limited!(ModelServiceServer::new(models), config.server));
    server.readiness().set_ready(true);
    Ok(server.start(shutdown)?)
}

/// The backends that the configuration asks for, in the order of listings.
fn backends(
    config: &Config,
    pool: &Pool,
    tasks: &TaskTracker,
) -> anyhow::Result<Vec<Arc<dyn Backend>>> {
    let limits = config.limits.decode_limits();
    let mut backends: Vec<Arc<dyn Backend>> = vec![
        Arc::new(StudioBackend::new(config.studio.clone(), pool.clone())),
        Arc::new(ExemplarBackend::new(
            config.exemplar.clone(),
            limits,
            pool.clone(),
        )),
        Arc::new(RemoteBackend::new(
            Gemini::new(config.gemini.clone()),
            config.gemini.keys(),
            &config.remote,
            limits,
            pool.clone(),
            tasks.clone(),
        )?),
    ];
    if config.openai.is_on() {
        backends.push(Arc::new(RemoteBackend::new(
            OpenAi::new(config.openai.clone()),
            config.openai.keys(),
            &config.remote,
            limits,
            pool.clone(),
            tasks.clone(),
        )?));
    }
    Ok(backends)
}
