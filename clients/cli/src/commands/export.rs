//! `saga export`: models in the forms that other programs load.

use anyhow::{Context as _, Result, ensure};
use saga_export::onnx::{self, Precision};
use saga_export::{huggingface, pth};
use saga_imaging::RgbImage;
use serde_json::json;

use crate::{
    args::{ExportArgs, Form, Global},
    commands::model::Pictures,
    folder::{images_below, spread},
    output,
};

/// Writes the model in the form that was asked for.
pub async fn export(global: &Global, args: ExportArgs) -> Result<()> {
    ensure!(
        args.to == Form::Onnx || (args.calibration.is_none() && args.precision == "f32"),
        "--precision and --calibration are for --to onnx; the other forms are in f32"
    );
    ensure!(
        args.to == Form::Huggingface || args.run.is_none(),
        "--run fills the model card of --to huggingface"
    );
    let json = global.json;
    let exported = tokio::task::spawn_blocking(move || match args.to {
        Form::Onnx => to_onnx(json, &args),
        Form::Huggingface => {
            huggingface::export(&args.model, &args.out, args.run.as_deref())?;
            told(json, &args)
        }
        Form::Pth => {
            pth::export(&args.model, &args.out)?;
            told(json, &args)
        }
    });
    exported.await?
}

fn told(json: bool, args: &ExportArgs) -> Result<()> {
    if json {
        return output::print_json(&json!({ "out": args.out }));
    }
    println!("{}", args.out.display());
    Ok(())
}

fn to_onnx(json: bool, args: &ExportArgs) -> Result<()> {
    let precision = Precision::named(&args.precision)
        .with_context(|| format!("`{}` is no precision of an export", args.precision))?;
    let mut pictures = match &args.calibration {
        Some(folder) => Some(Pictures::new(spread(images_below(folder)?), json)),
        None => None,
    };
    let given = pictures
        .as_mut()
        .map(|pictures| pictures as &mut dyn Iterator<Item = RgbImage>);
    let report = onnx::export(&args.model, &args.out, precision, given);
    if let Some(pictures) = &pictures {
        pictures.tell_unreadable();
    }
    let report = report?;
    if json {
        let files = report
            .files
            .iter()
            .map(|file| json!({"path": file.path, "bytes": file.bytes}));
        return output::print_json(&json!({
            "files": files.collect::<Vec<_>>(),
            "drift": report.drift,
            "agreeing": report.agreement.map(|agreement| agreement.agreeing),
            "of": report.agreement.map(|agreement| agreement.of),
        }));
    }
    for file in &report.files {
        println!(
            "{} ({:.1} MB)",
            file.path.display(),
            file.bytes as f64 / 1e6
        );
    }
    println!("  in f32 within {:.1e} of the model", report.drift);
    match report.agreement {
        Some(agreement) => println!(
            "  {} of {} answers in 8-bit integers are those of f32 ({})",
            agreement.agreeing,
            agreement.of,
            output::percent(agreement.share())
        ),
        None if precision == Precision::Int8Dynamic => {
            println!("  answers were not compared with f32: give --calibration a folder of images");
        }
        None => {}
    }
    Ok(())
}
