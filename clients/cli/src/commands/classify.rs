//! `saga classify`: the most probable labels of images.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use saga_proto::{
    classifier::v1::{
        ClassifyRequest, ClassifyResponse, classifier_service_client::ClassifierServiceClient,
    },
    model::v1::{LoadModelRequest, model_service_client::ModelServiceClient},
};
use serde_json::{Value, json};

use crate::{
    args::{ClassifyArgs, Global},
    commands::guard::read_image,
    failure, output,
    system::{Folders, System, path_text},
};

pub async fn classify(global: &Global, args: ClassifyArgs) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let system = System::open(global, Folders::below(scratch.path())).await?;
    if system.local().is_some() {
        load_model(&system, &args.model).await?;
    }
    let mut client = saga_client::limited!(ClassifierServiceClient::new(system.classifier.clone()));

    let mut rows = Vec::with_capacity(args.images.len());
    for path in &args.images {
        // One unreadable image must not cost the answers for the others.
        let answer: Result<ClassifyResponse> = async {
            let request = ClassifyRequest {
                image: Some(read_image(path)?),
                top_k: args.top_k,
                ..Default::default()
            };
            Ok(client.classify(request).await?.into_inner())
        }
        .await;
        rows.push((path.display().to_string(), answer));
    }
    let failed = rows.iter().filter(|(_, answer)| answer.is_err()).count();
    show(global, &rows)?;
    system.stop().await?;
    if failed > 0 {
        bail!("{failed} of {} images could not be classified", rows.len());
    }
    Ok(())
}

/// Puts the model of a directory into the classifier of this process.
pub async fn load_model(system: &System, directory: &Path) -> Result<()> {
    let request = LoadModelRequest {
        name: "classify".to_owned(),
        directory: path_text(directory)?,
        make_default: true,
    };
    let loaded = ModelServiceClient::new(system.classifier.clone())
        .load_model(request)
        .await;
    loaded.map(drop).with_context(|| {
        format!(
            "no usable model in `{}`; run `saga demo` first, or name another directory",
            directory.display()
        )
    })
}

fn show(global: &Global, rows: &[(String, Result<ClassifyResponse>)]) -> Result<()> {
    if global.json {
        return output::print_json(
            &rows
                .iter()
                .map(|(path, answer)| row_json(path, answer))
                .collect::<Vec<_>>(),
        );
    }
    let mut table = output::table(["image", "labels"]);
    for (path, answer) in rows {
        let labels = match answer {
            Ok(answer) => answer
                .predictions
                .iter()
                .map(|prediction| {
                    format!(
                        "{} {}",
                        prediction.label,
                        output::percent(prediction.probability)
                    )
                })
                .collect::<Vec<_>>()
                .join("   "),
            Err(error) => failure::describe(error),
        };
        table.add_row([path.clone(), labels]);
    }
    println!("{table}");
    Ok(())
}

fn row_json(path: &str, answer: &Result<ClassifyResponse>) -> Value {
    match answer {
        Ok(answer) => json!({
            "image": path,
            "model_revision": answer.model.as_ref().map(|model| &model.revision),
            "predictions": answer.predictions.iter().map(|prediction| json!({
                "label": prediction.label, "index": prediction.index, "probability": prediction.probability,
            })).collect::<Vec<_>>(),
        }),
        Err(error) => json!({"image": path, "error": failure::describe(error)}),
    }
}
