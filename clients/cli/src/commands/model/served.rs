//! `saga model load, list, rollback, unload`: what a running service holds.

use anyhow::{Context as _, Result};
use saga_client::Transport;
use saga_proto::model::v1::{
    ListModelsRequest, LoadModelRequest, LoadedModel, RollbackModelRequest, UnloadModelRequest,
    model_service_client::ModelServiceClient,
};
use serde_json::{Value, json};

use crate::{
    args::{Global, LoadModelArgs, ModelService, NamedArgs},
    output,
    system::path_text,
};

/// Loads, checks and swaps.
pub async fn load(global: &Global, args: LoadModelArgs) -> Result<()> {
    // The service has a working directory of its own.
    let directory = std::path::absolute(&args.directory)?;
    let request = LoadModelRequest {
        name: args.name,
        directory: path_text(&directory)?,
        make_default: args.make_default,
    };
    let answer = client(&args.service).await?.load_model(request).await?;
    show(global, answer.into_inner().model.into_iter().collect())
}

/// Lists the models.
pub async fn list(global: &Global, service: ModelService) -> Result<()> {
    let mut client = client(&service).await?;
    let answer = client.list_models(ListModelsRequest {}).await?;
    show(global, answer.into_inner().models)
}

/// Puts the previous model back.
pub async fn rollback(global: &Global, args: NamedArgs) -> Result<()> {
    let request = RollbackModelRequest { name: args.name };
    let answer = client(&args.service).await?.rollback_model(request).await?;
    show(global, answer.into_inner().model.into_iter().collect())
}

/// Takes a model out of service, and lists those that remain.
pub async fn unload(global: &Global, args: NamedArgs) -> Result<()> {
    let request = UnloadModelRequest { name: args.name };
    let mut client = client(&args.service).await?;
    client.unload_model(request).await?;
    let answer = client.list_models(ListModelsRequest {}).await?;
    show(global, answer.into_inner().models)
}

async fn client(service: &ModelService) -> Result<ModelServiceClient<Transport>> {
    let address = &service.address;
    let transport = saga_client::connect(address).await;
    let transport = transport.with_context(|| format!("no service at `{address}`"))?;
    Ok(ModelServiceClient::new(transport))
}

fn show(global: &Global, models: Vec<LoadedModel>) -> Result<()> {
    if global.json {
        return output::print_json(&models.iter().map(row).collect::<Vec<_>>());
    }
    let mut table = output::table(["model", "revision", "runs in", "previous", "directory"]);
    for model in models {
        let version = model.version.unwrap_or_default();
        let default = if model.is_default { " (default)" } else { "" };
        table.add_row([
            format!("{}{default}", version.name),
            version.revision,
            format!("{} on {}", model.precision, model.device),
            model
                .previous
                .map(|previous| previous.revision)
                .unwrap_or_default(),
            model.directory,
        ]);
    }
    println!("{table}");
    Ok(())
}

fn row(model: &LoadedModel) -> Value {
    let version = model.version.clone().unwrap_or_default();
    json!({
        "name": version.name,
        "revision": version.revision,
        "id": version.id,
        "is_default": model.is_default,
        "directory": model.directory,
        "precision": model.precision,
        "device": model.device,
        "labels": model.labels,
        "previous_revision": model.previous.as_ref().map(|previous| &previous.revision),
    })
}
