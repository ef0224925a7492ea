//! The tables of an export.

use std::collections::BTreeSet;

use super::{Accepted, Contents, reports::timestamp};
use crate::{error::StoreError, split::Side};

/// File names with their contents.
pub(super) type Files = Vec<(&'static str, Vec<u8>)>;

/// All tables.
pub(super) fn tables(contents: &Contents) -> Result<Files, StoreError> {
    let mut tables = vec![
        ("augmented_labels.csv", augmented(contents)?),
        ("combined_labels.csv", combined(contents)?),
        ("testset_saved.csv", golden(contents, &["pth", "label"])?),
        ("train.csv", side(contents, Side::Train)?),
        ("val.csv", side(contents, Side::Val)?),
        ("calibration.csv", side(contents, Side::Calibration)?),
        (
            "test.csv",
            golden(contents, &["pth", "label", "subject", "synthetic"])?,
        ),
        ("synthetic_meta.csv", meta_csv(contents)?),
        ("synthetic_meta.jsonl", meta_jsonl(contents)),
    ];
    if contents.face_side.is_some() {
        tables.push(("synthetic_meta_cropped.csv", cropped(contents)?));
    }
    Ok(tables)
}

/// A CSV under construction.
struct Table(csv::Writer<Vec<u8>>);

impl Table {
    fn new(header: &[&str]) -> Result<Self, StoreError> {
        let mut table = Self(csv::Writer::from_writer(Vec::new()));
        table.row(header)?;
        Ok(table)
    }

    fn row<T: AsRef<[u8]>>(
        &mut self,
        fields: impl IntoIterator<Item = T>,
    ) -> Result<(), StoreError> {
        self.0
            .write_record(fields)
            .map_err(|e| StoreError::Task(format!("writing a table: {e}")))
    }

    fn finish(self) -> Result<Vec<u8>, StoreError> {
        self.0
            .into_inner()
            .map_err(|e| StoreError::Task(format!("writing a table: {e}")))
    }
}

fn augmented(contents: &Contents) -> Result<Vec<u8>, StoreError> {
    let mut table = Table::new(&[
        "pth",
        "label",
        "source_pth",
        "source_label",
        "subject",
        "candidate_id",
    ])?;
    for image in &contents.accepted {
        let c = &image.candidate;
        table.row([
            &image.path,
            &image.label,
            &c.source_path,
            &image.source_label,
            &c.subject,
            &c.id,
        ])?;
    }
    table.finish()
}

fn combined(contents: &Contents) -> Result<Vec<u8>, StoreError> {
    let mut table = Table::new(&["pth", "label", "subject", "split", "synthetic"])?;
    for (side, row) in contents
        .real
        .iter()
        .filter(|(side, _)| *side != Side::Golden)
    {
        table.row([
            &row.path,
            contents.dataset.label(row.label)?,
            &row.subject,
            side.as_str(),
            "0",
        ])?;
    }
    for image in &contents.accepted {
        table.row([
            &image.path,
            &image.label,
            &image.candidate.subject,
            Side::Train.as_str(),
            "1",
        ])?;
    }
    table.finish()
}

fn side(contents: &Contents, side: Side) -> Result<Vec<u8>, StoreError> {
    let mut table = Table::new(&["pth", "label", "subject", "synthetic"])?;
    for (_, row) in contents.real.iter().filter(|(s, _)| *s == side) {
        table.row([
            &row.path,
            contents.dataset.label(row.label)?,
            &row.subject,
            "0",
        ])?;
    }
    if side == Side::Train {
        for image in &contents.accepted {
            table.row([&image.path, &image.label, &image.candidate.subject, "1"])?;
        }
    }
    table.finish()
}

/// The golden images: names and labels, the first columns of `[pth, label, subject, synthetic]`.
fn golden(contents: &Contents, columns: &[&str]) -> Result<Vec<u8>, StoreError> {
    let mut table = Table::new(columns)?;
    for (_, row) in contents
        .real
        .iter()
        .filter(|(side, _)| *side == Side::Golden)
    {
        let all = [
            row.path.as_str(),
            contents.dataset.label(row.label)?,
            &row.subject,
            "0",
        ];
        table.row(all.iter().take(columns.len()))?;
    }
    table.finish()
}

/// The cut faces: where they are, and where they were.
fn cropped(contents: &Contents) -> Result<Vec<u8>, StoreError> {
    let header = [
        "pth",
        "label",
        "uncropped_pth",
        "left",
        "top",
        "side",
        "candidate_id",
    ];
    let mut table = Table::new(&header)?;
    for face in &contents.faces {
        let [left, top, side] =
            [face.square.left, face.square.top, face.square.side].map(|n| n.to_string());
        table.row([
            &face.path,
            &face.label,
            &face.source,
            &left,
            &top,
            &side,
            &face.candidate_id,
        ])?;
    }
    table.finish()
}

const META: &[&str] = &[
    "candidate_id",
    "pth",
    "label",
    "source_pth",
    "source_label",
    "subject",
    "backend",
    "backend_version",
    "prompt",
    "prompt_text",
    "prompt_version",
    "seed",
    "parameters",
    "cost_usd",
    "duration_seconds",
    "created_at",
    "width",
    "height",
    // Of the file at `pth`, and of the same image before it was signed, as the gates judged it.
    "blake3",
    "unsigned_blake3",
    "phash",
    "source_blake3",
];

fn meta_csv(contents: &Contents) -> Result<Vec<u8>, StoreError> {
    let verdicts = contents
        .accepted
        .iter()
        .flat_map(|image| &image.candidate.verdicts);
    let gates: BTreeSet<&str> = verdicts.map(|v| v.gate.as_str()).collect();
    let scores: Vec<String> = gates.iter().map(|gate| format!("{gate}_score")).collect();
    let mut table = Table::new(
        &META
            .iter()
            .copied()
            .chain(scores.iter().map(String::as_str))
            .collect::<Vec<_>>(),
    )?;
    for image in &contents.accepted {
        table.row(meta_row(image, &contents.run.prompt_version, &gates))?;
    }
    table.finish()
}

fn meta_row(image: &Accepted, prompt_version: &str, gates: &BTreeSet<&str>) -> Vec<String> {
    let (c, p) = (&image.candidate, &image.candidate.provenance);
    let number = |n: Option<i64>| n.map(|n| n.to_string()).unwrap_or_default();
    let score = |gate: &&str| {
        let verdict = c.verdicts.iter().find(|v| v.gate == **gate);
        verdict
            .and_then(|v| v.score)
            .map(|s| s.to_string())
            .unwrap_or_default()
    };
    let mut row = vec![
        c.id.clone(),
        image.path.clone(),
        image.label.clone(),
        c.source_path.clone(),
        image.source_label.clone(),
        c.subject.clone(),
        p.backend.clone(),
        p.backend_version.clone(),
        p.prompt.clone(),
        c.prompt_text.clone(),
        prompt_version.to_owned(),
        p.seed.to_string(),
        serde_json::json!(p.parameters).to_string(),
        p.cost_usd.to_string(),
        (p.duration_us as f64 / 1e6).to_string(),
        timestamp(c.created_at),
        number(c.width),
        number(c.height),
        image.file_blake3.clone(),
        image.blake3.clone(),
        c.phash
            .map(|hash| format!("{:016x}", hash.cast_unsigned()))
            .unwrap_or_default(),
        p.source_blake3.clone(),
    ];
    row.extend(gates.iter().map(score));
    row
}

fn meta_jsonl(contents: &Contents) -> Vec<u8> {
    let mut lines = Vec::new();
    for image in &contents.accepted {
        let c = &image.candidate;
        let line = serde_json::json!({
            "candidate_id": c.id,
            "file_name": image.path,
            "label": image.label,
            "source": { "pth": c.source_path, "label": image.source_label, "subject": c.subject,
                        "blake3": c.source_blake3 },
            "slot_id": c.slot_id,
            "attempt": c.attempt,
            "arm": { "source_label": image.source_label, "target_label": image.label, "prompt_text": c.prompt_text,
                     "backend": c.provenance.backend },
            "prompt_version": contents.run.prompt_version,
            "created_at": timestamp(c.created_at),
            "width": c.width,
            "height": c.height,
            "blake3": image.file_blake3,
            "unsigned_blake3": image.blake3,
            "signed": image.is_signed(),
            "phash": c.phash.map(|hash| format!("{:016x}", hash.cast_unsigned())),
            "provenance": c.provenance,
            "verdicts": c.verdicts,
        });
        lines.extend_from_slice(line.to_string().as_bytes());
        lines.push(b'\n');
    }
    lines
}
