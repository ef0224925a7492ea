//! `label_map.json`, `status.json` and `env_report.json`.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};

use super::{Contents, tables::Files};
use crate::{error::StoreError, split::Side};

const STATUS: &str = "status.json";

/// All reports.
pub(super) fn reports(contents: &Contents) -> Result<Files, StoreError> {
    Ok(vec![
        ("label_map.json", pretty(&label_map(contents))?),
        ("env_report.json", pretty(&environment(contents))?),
        (STATUS, pretty(&status(contents)?)?),
    ])
}

fn pretty(value: &Value) -> Result<Vec<u8>, StoreError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|e| StoreError::Task(format!("writing a report: {e}")))?;
    text.push(b'\n');
    Ok(text)
}

/// Refuses a folder that another run was exported to: their images would mix.
pub(super) fn check_folder(directory: &Path, run_id: &str) -> Result<(), StoreError> {
    let there = fs::read(directory.join(STATUS))
        .ok()
        .and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    match there.as_ref().and_then(|status| status["run_id"].as_str()) {
        Some(other) if other != run_id => {
            let why = format!(
                "{} holds the export of run '{other}'; choose another folder",
                directory.display()
            );
            Err(StoreError::invalid("directory", why))
        }
        _ => Ok(()),
    }
}

/// Label to index.
fn label_map(contents: &Contents) -> Value {
    contents
        .dataset
        .classes
        .iter()
        .enumerate()
        .map(|(i, class)| (class.clone(), json!(i)))
        .collect()
}

fn fraction(part: usize, rest: usize) -> f64 {
    if part == 0 {
        0.0
    } else {
        part as f64 / (part + rest) as f64
    }
}

fn status(contents: &Contents) -> Result<Value, StoreError> {
    let (original, synthetic) = (contents.real.len(), contents.accepted.len());
    let side = |side: Side| contents.real.iter().filter(|(s, _)| *s == side).count();
    let share = |s: Side| fraction(side(s), original - side(s));
    Ok(json!({
        "run_id": contents.run.id,
        "dataset_id": contents.dataset.id,
        "dataset_path": contents.dataset.path,
        "totals": { "original": original, "synthetic": synthetic, "total": original + synthetic },
        "synthetic_fraction": fraction(synthetic, original),
        "train_synthetic_fraction": fraction(synthetic, side(Side::Train)),
        "max_synthetic_fraction": contents.run.max_synthetic_fraction,
        "per_class": per_class(contents)?,
        "split_fractions": {
            "train": share(Side::Train),
            "val": share(Side::Val),
            "calibration": share(Side::Calibration),
            "golden": share(Side::Golden),
        },
        "image_size": image_size(contents),
        "cropped": contents.face_side.map(|side| json!({ "side": side, "faces": contents.faces.len(), "without_face": synthetic - contents.faces.len() })),
        "image_mode": image_mode(contents),
        "seed": contents.run.seed.cast_unsigned(),
        "split_seed": contents.policy.seed,
        "generator": contents.run.generator,
        "prompt_hash": contents.run.prompt_version,
        "thresholds": thresholds(contents),
        "provenance": provenance(contents),
        "timestamp": timestamp(contents.now),
    }))
}

/// Who signed how many of the accepted images with C2PA, and why not the others.
fn provenance(contents: &Contents) -> Value {
    let signed = contents.accepted.iter().filter(|image| image.is_signed());
    json!({
        "signed": signed.count(),
        "unsigned": contents.unsigned,
        "certificate_sha256": contents.identity.fingerprint(),
        "certificate": if contents.identity.is_generated() {
            "self-signed by this label store: untrusted"
        } else {
            "configured"
        },
    })
}

/// Real and synthetic images of each class, in all and in train, where the cap applies.
fn per_class(contents: &Contents) -> Result<Value, StoreError> {
    let mut classes: BTreeMap<&str, [usize; 3]> = contents
        .dataset
        .classes
        .iter()
        .map(|class| (class.as_str(), [0; 3]))
        .collect();
    for (side, row) in &contents.real {
        let counts = classes
            .entry(contents.dataset.label(row.label)?)
            .or_default();
        counts[0] += 1;
        counts[1] += usize::from(*side == Side::Train);
    }
    for image in &contents.accepted {
        classes.entry(&image.label).or_default()[2] += 1;
    }
    let report = |[original, train, synthetic]: [usize; 3]| {
        json!({
            "original": original,
            "train_original": train,
            "synthetic": synthetic,
            "total": original + synthetic,
            "synthetic_fraction": fraction(synthetic, original),
            "train_synthetic_fraction": fraction(synthetic, train),
        })
    };
    Ok(classes
        .into_iter()
        .map(|(class, counts)| (class.to_owned(), report(counts)))
        .collect())
}

/// Smallest and largest side of the accepted images, in pixels; null where there are none.
fn image_size(contents: &Contents) -> Value {
    let range = |side: fn(&super::Accepted) -> Option<i64>| {
        let sides = || contents.accepted.iter().filter_map(side);
        json!({ "min": sides().min(), "max": sides().max() })
    };
    json!({ "width": range(|image| image.candidate.width), "height": range(|image| image.candidate.height) })
}

/// How many of the accepted images' files are of each mode.
fn image_mode(contents: &Contents) -> BTreeMap<&'static str, usize> {
    let mut modes = BTreeMap::new();
    for image in &contents.accepted {
        *modes.entry(image.mode).or_default() += 1;
    }
    modes
}

/// The bounds each gate applied; a list where they changed within the run.
fn thresholds(contents: &Contents) -> Value {
    let mut gates: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for verdict in contents
        .accepted
        .iter()
        .flat_map(|image| &image.candidate.verdicts)
    {
        let bounds = json!({ "min": verdict.threshold_min, "max": verdict.threshold_max });
        let seen = gates.entry(&verdict.gate).or_default();
        if !seen.contains(&bounds) {
            seen.push(bounds);
        }
    }
    let one_or_list = |mut seen: Vec<Value>| {
        if seen.len() == 1 {
            seen.remove(0)
        } else {
            Value::Array(seen)
        }
    };
    gates
        .into_iter()
        .map(|(gate, seen)| (gate.to_owned(), one_or_list(seen)))
        .collect()
}

/// RFC 3339, in UTC.
pub(super) fn timestamp(milliseconds: i64) -> String {
    jiff::Timestamp::from_millisecond(milliseconds)
        .map(|t| t.to_string())
        .unwrap_or_default()
}

/// Surroundings: of the store that wrote the export, and of each stage that told where it ran.
fn environment(contents: &Contents) -> Value {
    let mut models: BTreeMap<&str, Value> = BTreeMap::new();
    for verdict in contents
        .accepted
        .iter()
        .flat_map(|image| &image.candidate.verdicts)
    {
        if let Some(model) = &verdict.model {
            models.entry(&verdict.gate).or_insert_with(|| json!(model));
        }
    }
    let stages: BTreeMap<&str, Value> = contents
        .stages
        .iter()
        .filter_map(|stage| {
            let mut result: Value = serde_json::from_str(&stage.result_json).ok()?;
            let environment = result.get_mut("environment")?.take();
            Some((stage.name.as_str(), environment))
        })
        .collect();
    let run = &contents.run;
    json!({
        "versions": { "label-store": env!("CARGO_PKG_VERSION"), "rust": env!("CARGO_PKG_RUST_VERSION") },
        "device": {
            "os": std::env::consts::OS,
            "arch": std::env::consts::ARCH,
            "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        },
        "stages": stages,
        "models": models,
        "parameters": {
            "seed": run.seed.cast_unsigned(),
            "generator": run.generator,
            "max_synthetic_fraction": run.max_synthetic_fraction,
            "max_phash_distance": run.max_phash_distance,
            "max_clip_cosine": run.max_clip_cosine,
            "split_policy": contents.policy,
            "recipe_toml": run.recipe_toml,
        },
        "timestamp": timestamp(contents.now),
    })
}
