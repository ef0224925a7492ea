//! `saga describe`: captions, labels and comments of images by a text model.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use saga_proto::generator::v1::{
    Budget, DescribeRequest, DescribeResponse, Outcome, text_service_client::TextServiceClient,
};
use serde_json::{Value, json};

use crate::{
    args::{DescribeArgs, Global},
    commands::guard::read_image,
    failure,
    folder::images_below,
    output,
    progress::Counter,
    system::{Folders, System},
};

/// Requests under way at once.
const IN_FLIGHT: usize = 8;
/// The ledger's name for what this command asks in one folder.
const NAME: &str = "describe";

pub async fn describe(global: &Global, args: DescribeArgs) -> Result<()> {
    let images = images(&args.images)?;
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot create the folder `{}`", args.out.display()))?;
    let system = System::open(global, Folders::below(&args.out)).await?;
    let client = saga_client::limited!(TextServiceClient::new(system.generator.clone()));
    let answers = futures::stream::iter(images.iter().enumerate().map(|(index, path)| {
        let (mut client, request) = (client.clone(), request(path, &args));
        async move {
            let answer = async { Ok(client.describe(request?).await?.into_inner()) };
            (index, answer.await)
        }
    }));
    let mut answers = answers.buffer_unordered(IN_FLIGHT);
    let mut progress = Counter::new(global.json, "describe", images.len() as u64);
    let mut rows = vec![Value::Null; images.len()];
    let (mut without, mut cost) = (0, 0.0);
    while let Some((index, answer)) = answers.next().await {
        let answer: Result<DescribeResponse> = answer;
        without += usize::from(!answer.as_ref().is_ok_and(has_words));
        cost += answer.as_ref().map_or(0.0, cost_of);
        if let (Some(row), Some(path)) = (rows.get_mut(index), images.get(index)) {
            *row = row_json(path, &answer);
        }
        progress.one_more();
    }
    drop(answers);
    drop(progress);
    system.stop().await?;
    let file = args.out.join("descriptions.jsonl");
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    saga_export::write(&file, lines)?;
    if global.json {
        output::print_json(&rows)?;
    } else {
        let described = images.len() - without;
        println!(
            "{described} of {} images described for {cost:.4} US dollars: {}",
            images.len(),
            file.display()
        );
    }
    if without > 0 {
        bail!(
            "{without} of {} images have no description; `{}` says why, and the same command asks again where that may help",
            images.len(),
            file.display()
        );
    }
    Ok(())
}

fn images(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in given {
        if path.is_dir() {
            all.extend(images_below(path)?);
        } else {
            all.push(path.clone());
        }
    }
    Ok(all)
}

fn request(path: &Path, args: &DescribeArgs) -> Result<DescribeRequest> {
    Ok(DescribeRequest {
        // Image and settings tell requests apart.
        request_id: NAME.to_owned(),
        backend: args.backend.clone(),
        image: Some(read_image(path)?),
        prompt: args.prompt.clone(),
        labels: args.labels.clone(),
        comments: args.comments,
        budget: Some(Budget {
            id: NAME.to_owned(),
            max_cost_usd: args.max_cost,
        }),
        ..DescribeRequest::default()
    })
}

fn has_words(answer: &DescribeResponse) -> bool {
    answer.outcome() == Outcome::Text
}

fn cost_of(answer: &DescribeResponse) -> f64 {
    answer.provenance.as_ref().map_or(0.0, |made| made.cost_usd)
}

fn row_json(path: &Path, answer: &Result<DescribeResponse>) -> Value {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return json!({"image": path, "error": failure::describe(error)}),
    };
    let made = answer.provenance.clone().unwrap_or_default();
    let mut row = json!({
        "image": path, "blake3": made.source_blake3, "model": made.parameters.get("model"),
        "cost_usd": made.cost_usd,
    });
    let words = if has_words(answer) {
        json!({"caption": answer.caption, "labels": answer.labels, "comments": answer.comments})
    } else {
        json!({"outcome": answer.outcome().as_str_name(), "message": answer.message})
    };
    if let (Value::Object(row), Value::Object(words)) = (&mut row, words) {
        row.extend(words);
    }
    row
}
