//! `saga load`: how fast one gate answers, how much it can do, and where its knee is.

mod progress;
mod samples;
mod show;

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use saga_load::{Load, Options, Plan, Report, Sample, Target, Wording, Workload};
use saga_proto::model::v1::{LoadModelRequest, model_service_client::ModelServiceClient};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use self::progress::Progress;
pub use self::show::{figure, sentences};
use crate::{
    args::{GateName, Global, LoadArgs},
    output, report,
    system::{Folders, System, path_text},
};

pub async fn load(global: &Global, args: LoadArgs) -> Result<()> {
    if let Some(out) = &args.out {
        // Before the load, not after it.
        fs::create_dir_all(out).with_context(|| format!("cannot create `{}`", out.display()))?;
    }
    let samples = match &args.items.images {
        Some(folder) => Some(samples::from_folder(folder, args.items.items)?),
        None => None,
    };
    let scratch = tempfile::tempdir()?;
    let subject = Subject::open(global, &args, samples, Folders::below(scratch.path())).await?;
    let outcome = apart(measure(global, &args, &subject));
    // The services still drain where the load failed.
    if let Some(system) = subject.system {
        system.stop().await?;
    }
    let report = outcome?;
    if let Some(out) = &args.out {
        write(out, &report)?;
    }
    if global.json {
        output::print_json(&json(&report)?)?;
    } else {
        show::show(&report, args.out.as_deref());
    }
    Ok(report.check()?)
}

/// The gate's address, what to send it, and the services where this process runs the gate.
struct Subject {
    address: String,
    samples: Vec<Sample>,
    system: Option<System>,
}

impl Subject {
    async fn open(
        global: &Global,
        args: &LoadArgs,
        samples: Option<Vec<Sample>>,
        folders: Folders,
    ) -> Result<Self> {
        if let (Some(address), Some(samples)) = (&args.address, &samples) {
            return Ok(Self {
                address: address.clone(),
                samples: samples.clone(),
                system: None,
            });
        }
        if let Some(address) = &args.address {
            // Whether anybody is there is told before images are rendered for it.
            saga_client::connect(address).await?;
        }
        let system = System::open(global, folders).await?;
        let opened = Self::within(&system, args, samples).await;
        let (address, samples) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                system.stop().await?;
                return Err(error);
            }
        };
        if args.address.is_none() {
            return Ok(Self {
                address,
                samples,
                system: Some(system),
            });
        }
        // It rendered the images; under load it would only be in the way.
        system.stop().await?;
        Ok(Self {
            address,
            samples,
            system: None,
        })
    }

    /// Address and samples, with the gate's model loaded and faces rendered as far as needed.
    async fn within(
        system: &System,
        args: &LoadArgs,
        samples: Option<Vec<Sample>>,
    ) -> Result<(String, Vec<Sample>)> {
        let address = match &args.address {
            Some(address) => address.clone(),
            None => started(system, args).await?,
        };
        let samples = match samples {
            Some(samples) => samples,
            None => samples::rendered(system, &args.items, args.measuring.seed).await?,
        };
        Ok((address, samples))
    }
}

/// The address of a gate that loads nothing.
fn without_model(args: &LoadArgs, gate: &str, address: &str) -> Result<String> {
    ensure!(
        args.model.is_none(),
        "{gate} has no model; leave out --model"
    );
    Ok(address.to_owned())
}

/// Address of the gate inside this process, with its model.
async fn started(system: &System, args: &LoadArgs) -> Result<String> {
    let Some(local) = system.local() else {
        bail!("the services run elsewhere, so say where the gate is: --address URL");
    };
    let addresses = local.addresses();
    let (address, model) = match args.gate {
        Some(GateName::Clip) => (&addresses.clip_gate, "clip"),
        Some(GateName::Vit) => (&addresses.vit_classifier, "baseline"),
        Some(GateName::Quality) => return without_model(args, "quality", &addresses.quality_gate),
        Some(GateName::Ssim) | None => return without_model(args, "ssim", &addresses.ssim_gate),
    };
    let default = Path::new("out/demo/models").join(model);
    let directory = args.model.as_deref().unwrap_or(&default);
    let request = LoadModelRequest {
        name: "load".to_owned(),
        directory: path_text(directory)?,
        make_default: true,
    };
    ModelServiceClient::new(saga_client::connect(address).await?)
        .load_model(request)
        .await
        .with_context(|| {
            format!(
                "no usable model in `{}`; give --model DIR, or run `saga demo` first",
                directory.display()
            )
        })?;
    Ok(address.clone())
}

/// Runs the generator on a runtime of its own: it would be late where it had to queue behind the gate's own tasks.
fn apart<T>(generator: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::task::block_in_place(|| {
        let runtime = tokio::runtime::Runtime::new().context("no threads for the generator")?;
        let outcome = runtime.block_on(generator);
        runtime.shutdown_background();
        outcome
    })
}

async fn measure(global: &Global, args: &LoadArgs, subject: &Subject) -> Result<Report> {
    let target = Target::connect(&subject.address, args.shape.connections).await?;
    if let Some(gate) = args.gate {
        let (name, found) = (
            format!("{gate:?}").to_lowercase(),
            &target.description().name,
        );
        ensure!(
            *found == name,
            "the gate at {} calls itself \"{found}\", not \"{name}\"; leave the name out to test it all the same",
            subject.address
        );
    }
    let mut progress = Progress::new(global.json, subject.samples.len());
    let wording = Wording {
        target: args.items.target.clone(),
        prompt: args.items.prompt.clone(),
    };
    let stop = CancellationToken::new();
    saga_chassis::signals::cancel_on_stop(stop.clone())?;
    let learning = Workload::learn(&target, &subject.samples, &wording, |done| {
        progress.learned(done)
    });
    let Some(workload) = stop.run_until_cancelled(learning).await else {
        bail!("interrupted before the load began");
    };
    let mut on = |event: saga_load::Event<'_>| progress.show(&event);
    let report = saga_load::run(
        &target,
        workload?,
        plan(args),
        options(args),
        &stop,
        &mut on,
    )
    .await;
    progress.finish();
    Ok(report?)
}

fn plan(args: &LoadArgs) -> Plan {
    let concurrency = args.shape.concurrency;
    match args.shape.rate {
        Some(rate) => Plan::Single(Load::Open { rate }),
        None if args.shape.sweep => Plan::Sweep { concurrency },
        None => Plan::Single(Load::Closed { concurrency }),
    }
}

fn options(args: &LoadArgs) -> Options {
    let measuring = &args.measuring;
    Options {
        warm_up: measuring.warm_up,
        duration: measuring.duration,
        deadline: measuring.deadline,
        max_lateness: measuring.max_lateness,
        tolerance: measuring.tolerance,
        seed: measuring.seed,
    }
}

/// The report, and why it is not a good one.
fn json(report: &Report) -> Result<Value> {
    let mut json = serde_json::to_value(report)?;
    json["failure"] = report.check().err().map(|why| why.to_string()).into();
    Ok(json)
}

fn write(out: &Path, report: &Report) -> Result<()> {
    let text = serde_json::to_string_pretty(&json(report)?)?;
    saga_export::write(&out.join("load.json"), text)?;
    let page = report::load::html(report)?;
    saga_export::write(&out.join("load.html"), page)?;
    let mut log = Vec::new();
    saga_load::histogram_log::write(report, &mut log)?;
    saga_export::write(&out.join("load.hlog"), log)?;
    Ok(())
}
