//! `saga data`: render a data set, or look at one.

use std::{
    io::IsTerminal as _,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use saga_proto::{
    generator::v1::{RenderDatasetRequest, studio_service_client::StudioServiceClient},
    labelstore::v1::{
        GetDatasetRequest, GetDatasetResponse, ImportDatasetRequest, ImportReport,
        dataset_service_client::DatasetServiceClient, import_dataset_response::Event,
    },
};
use serde_json::json;

use crate::{
    args::{Global, StatsArgs, StudioArgs},
    output, progress,
    system::{Folders, System, path_text},
};

/// Renders the data set beside its final folder and renames it at the end, so that a half-written one is never mistaken
/// for a whole.
pub async fn studio(global: &Global, args: StudioArgs) -> Result<()> {
    if args.out.join("labels.csv").exists() {
        bail!(
            "`{}` already holds a data set; choose another folder",
            args.out.display()
        );
    }
    let parent = args
        .out
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent)
        .with_context(|| format!("cannot create `{}`", parent.display()))?;
    let unfinished = tempfile::Builder::new()
        .prefix(".studio-")
        .tempdir_in(parent)?;

    let scratch = tempfile::tempdir()?;
    let system = System::open(global, Folders::below(scratch.path())).await?;
    let request = RenderDatasetRequest {
        seed: args.seed,
        counts: args.counts.into_iter().collect(),
        size: args.size,
    };
    let mut client = saga_client::limited!(StudioServiceClient::new(system.generator.clone()));
    let mut images = client.render_dataset(request).await?.into_inner();

    let bar = bar(global, "rendering");
    let mut labels = String::from("pth,label,subject\n");
    while let Some(item) = images.next().await {
        let item = item?;
        let image = item.image.context("the studio answered without an image")?;
        let path = unfinished.path().join(relative(&item.path)?);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, &image.data)
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        labels.push_str(&format!("{},{},{}\n", item.path, item.label, item.subject));
        bar.set_length(u64::from(item.total));
        bar.inc(1);
    }
    let count = bar.position();
    bar.finish_and_clear();
    std::fs::write(unfinished.path().join("labels.csv"), labels)?;
    // An empty folder of that name is replaced; one with contents makes the rename fail.
    std::fs::rename(unfinished.path(), &args.out).with_context(|| {
        format!(
            "cannot move the data set to `{}`; is the folder empty?",
            args.out.display()
        )
    })?;
    system.stop().await?;

    if global.json {
        output::print_json(&json!({"directory": args.out, "images": count, "seed": args.seed}))
    } else {
        println!("rendered {count} images into {}", args.out.display());
        Ok(())
    }
}

/// Imports the data set into a store that is thrown away, which applies every check an import does.
pub async fn stats(global: &Global, args: StatsArgs) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let system = System::open(global, Folders::below(scratch.path())).await?;
    let mut client = saga_client::limited!(DatasetServiceClient::new(system.label_store.clone()));
    let request = ImportDatasetRequest {
        dataset_id: "stats".to_owned(),
        path: path_text(&args.data)?,
        classes: args.classes,
    };
    let mut events = client.import_dataset(request).await?.into_inner();
    let bar = bar(global, "reading");
    let mut report = None;
    while let Some(event) = events.next().await {
        match event?.event {
            Some(Event::Progress(progress)) => {
                bar.set_length(progress.total);
                bar.set_position(progress.done);
            }
            Some(Event::Report(last)) => report = Some(last),
            None => {}
        }
    }
    bar.finish_and_clear();
    let report = report.context("the import ended without a report")?;
    let dataset = client
        .get_dataset(GetDatasetRequest {
            dataset_id: "stats".to_owned(),
        })
        .await?
        .into_inner();
    system.stop().await?;
    show_stats(global, &report, &dataset)
}

fn show_stats(global: &Global, report: &ImportReport, dataset: &GetDatasetResponse) -> Result<()> {
    let largest = dataset
        .classes
        .iter()
        .map(|class| class.total)
        .max()
        .unwrap_or(0);
    let smallest = dataset
        .classes
        .iter()
        .map(|class| class.total)
        .filter(|&total| total > 0)
        .min()
        .unwrap_or(0);
    let imbalance = if smallest == 0 {
        0.0
    } else {
        f64::from(largest) / f64::from(smallest)
    };
    if global.json {
        let mut json = progress::import_json(report);
        json["subjects"] = dataset.subjects.into();
        json["imbalance"] = imbalance.into();
        json["classes"] = dataset
            .classes
            .iter()
            .map(|class| (class.label.clone(), json!(class.total)))
            .collect();
        return output::print_json(&json);
    }
    let total: u32 = dataset.classes.iter().map(|class| class.total).sum();
    let mut table = output::table(["class", "images", "share"]);
    for class in &dataset.classes {
        let share = f64::from(class.total) / f64::from(total.max(1));
        table.add_row([
            class.label.clone(),
            class.total.to_string(),
            output::percent(share),
        ]);
    }
    println!("{table}");
    println!(
        "{} layout, {total} images of {} subjects, largest class {imbalance:.0}x the smallest, {} rows rejected",
        report.layout, dataset.subjects, report.rejected
    );
    for row in &report.bad_rows {
        println!(
            "  line {} {}: {} ({})",
            row.line, row.path, row.message, row.reason
        );
    }
    Ok(())
}

/// A bar on a terminal, nothing otherwise: these commands are short, and their one line of result suffices there.
fn bar(global: &Global, what: &str) -> ProgressBar {
    let template = format!("  {what:<10} [{{bar:24}}] {{pos}}/{{len}}  {{per_sec}}, {{eta}} left");
    let style =
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(0).with_style(style);
    if global.json || !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar
}

/// A path the service sent, which must stay below the folder it is written into.
fn relative(path: &str) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    if path.as_os_str().is_empty()
        || !path
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
    {
        bail!(
            "the studio sent the path `{}`, which leaves the data set's folder",
            path.display()
        );
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_folder() {
        assert!(relative("fear/fear_0001.jpg").is_ok());
        for bad in ["", "/etc/passwd", "../x.jpg", "fear/../../x.jpg"] {
            assert!(relative(bad).is_err(), "{bad}");
        }
    }
}
