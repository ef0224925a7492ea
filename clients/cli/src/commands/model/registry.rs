//! `saga model registry`: versions of trained models in the label store.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use saga_client::Transport;
use saga_proto::labelstore::v1::{
    ListModelsRequest, ModelStage, PromoteModelRequest, RegisteredModel,
    registry_service_client::RegistryServiceClient,
};
use serde_json::{Value, json};

use crate::{
    args::{Global, RegistryCommand},
    output,
};

pub async fn registry(global: &Global, command: RegistryCommand) -> Result<()> {
    let models = match command {
        RegistryCommand::List(args) => {
            let request = ListModelsRequest { name: args.name };
            let mut client = client(&args.address).await?;
            client.list_models(request).await?.into_inner().models
        }
        RegistryCommand::Promote(args) => {
            let request = PromoteModelRequest {
                name: args.name,
                version: args.version,
                stage: ModelStage::from(args.stage).into(),
            };
            let mut client = client(&args.address).await?;
            let answer = client.promote_model(request).await?;
            answer.into_inner().model.into_iter().collect()
        }
    };
    show(global, &models)
}

async fn client(address: &str) -> Result<RegistryServiceClient<Transport>> {
    let transport = saga_client::connect(address).await;
    let transport = transport.with_context(|| format!("no label store at `{address}`"))?;
    Ok(RegistryServiceClient::new(transport))
}

fn show(global: &Global, models: &[RegisteredModel]) -> Result<()> {
    if global.json {
        return output::print_json(&models.iter().map(row).collect::<Vec<_>>());
    }
    let mut table = output::table(["model", "version", "stage", "revision", "data", "figures"]);
    for model in models {
        let lineage = model.lineage.clone().unwrap_or_default();
        let data = match lineage.synthetic_run_id.as_str() {
            "" => lineage.dataset_id,
            run => format!("{} + {run}", lineage.dataset_id),
        };
        let figures: BTreeMap<_, _> = model.metrics.iter().collect();
        let figures = figures
            .into_iter()
            .map(|(name, &value)| format!("{name} {}", output::figure(value)));
        table.add_row([
            model.name.clone(),
            model.version.to_string(),
            stage(model),
            model.revision.clone(),
            data,
            figures.collect::<Vec<_>>().join(", "),
        ]);
    }
    println!("{table}");
    Ok(())
}

/// As on the command line.
fn stage(model: &RegisteredModel) -> String {
    let name = model.stage().as_str_name();
    name.trim_start_matches("MODEL_STAGE_").to_lowercase()
}

fn row(model: &RegisteredModel) -> Value {
    let lineage = model.lineage.clone().unwrap_or_default();
    json!({
        "name": model.name,
        "version": model.version,
        "stage": stage(model),
        "revision": model.revision,
        "directory": model.directory,
        "metrics": model.metrics,
        "lineage": {
            "dataset_id": lineage.dataset_id,
            "dataset_snapshot": lineage.dataset_snapshot,
            "synthetic_run_id": lineage.synthetic_run_id,
            "parent": lineage.parent,
            "recipe": lineage.recipe,
            "seed": lineage.seed,
        },
    })
}
