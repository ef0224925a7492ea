//! Every SAGA service in one process, each on a port of its own, talking real gRPC over loopback: the laptop's default
//! and the end-to-end test bed.
//!
//! The services start in the order of their needs: what others call comes first, the orchestrator last. They stop in the
//! reverse order, so that what is in flight can still be settled.

mod options;

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use saga_chassis::Running;
use tokio_util::sync::CancellationToken;

pub use options::{Addresses, Options};

/// The running services of this process.
pub struct AllInOne {
    addresses: Addresses,
    /// In starting order, each with the switch that stops it.
    services: Vec<(&'static str, CancellationToken, Running)>,
}

impl AllInOne {
    /// Starts every service.
    ///
    /// # Errors
    /// A service that cannot start, by name: a port that is taken, a folder that cannot be written.
    pub async fn start(options: Options) -> Result<Self> {
        let mut started = Started::default();
        let config = options.label_store()?;
        let label_store = started
            .add("label-store", |stop| label_store::start(config, stop))
            .await?;
        let config = options.generator(&label_store)?;
        let generator = started
            .add("generator", |stop| generator::start(config, stop))
            .await?;
        let config = options.ssim_gate()?;
        let ssim_gate = started
            .add("ssim-gate", |stop| ssim_gate::start(config, stop))
            .await?;
        let config = options.quality_gate()?;
        let quality_gate = started
            .add("quality-gate", |stop| quality_gate::start(config, stop))
            .await?;
        let config = options.clip_gate()?;
        let clip_gate = started
            .add("clip-gate", |stop| clip_gate::start(config, stop))
            .await?;
        let config = options.vit_classifier(&label_store)?;
        let vit_classifier = started
            .add("vit-classifier", |stop| vit_classifier::start(config, stop))
            .await?;
        let config = options.trainer(&label_store)?;
        let trainer = started
            .add("trainer", |stop| trainer::start(config, stop))
            .await?;
        let mut addresses = Addresses {
            orchestrator: String::new(),
            generator,
            quality_gate,
            ssim_gate,
            clip_gate,
            vit_classifier,
            trainer,
            label_store,
        };
        let config = options.orchestrator(&addresses)?;
        addresses.orchestrator = started
            .add("orchestrator", |stop| orchestrator::start(config, stop))
            .await?;
        Ok(Self {
            addresses,
            services: started.services,
        })
    }

    /// Where the services listen.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Services whose metrics are scraped, and where, in starting order.
    pub fn metrics_addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let scraped = |(name, _, running): &(&'static str, _, Running)| {
            running.metrics_addr.map(|address| (*name, address))
        };
        self.services.iter().filter_map(scraped)
    }

    /// Drains and stops the services, the orchestrator first.
    ///
    /// # Errors
    /// The first service that failed, by name.
    pub async fn stop(self) -> Result<()> {
        let mut outcome = Ok(());
        for (name, stop, running) in self.services.into_iter().rev() {
            stop.cancel();
            let ended = running
                .wait()
                .await
                .with_context(|| format!("{name} failed"));
            outcome = outcome.and(ended);
        }
        outcome
    }
}

/// What has been started so far.
#[derive(Default)]
struct Started {
    services: Vec<(&'static str, CancellationToken, Running)>,
}

impl Started {
    /// Starts one more service and tells its address.
    async fn add<F>(
        &mut self,
        name: &'static str,
        start: impl FnOnce(CancellationToken) -> F,
    ) -> Result<String>
    where
        F: Future<Output = Result<Running>>,
    {
        let stop = CancellationToken::new();
        let running = start(stop.clone())
            .await
            .with_context(|| format!("cannot start {name}"))?;
        let address = format!("http://{}", running.addr);
        self.services.push((name, stop, running));
        Ok(address)
    }
}

/// Device and precision that models would get, in words.
///
/// # Errors
/// A device or precision that this machine does not have.
pub fn runtime_summary(device: &str, precision: &str) -> Result<String> {
    let runtime = saga_models::Runtime::select(device, precision)?;
    Ok(runtime.to_string())
}
