//! `saga verify`: the signed provenance of images.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use saga_provenance::{Report, State, verify as read};
use serde_json::{Value, json};

use crate::{
    args::{Global, VerifyArgs},
    failure, output,
};

/// Fails where a file is unsigned or was changed and, if anchors were given, where they do not vouch for its signer.
pub fn verify(global: &Global, args: &VerifyArgs) -> Result<()> {
    let anchors = match &args.trust {
        Some(path) => Some(
            fs::read_to_string(path)
                .with_context(|| format!("--trust: cannot read `{}`", path.display()))?,
        ),
        None => None,
    };
    // One unreadable file must not cost the answers for the others.
    let rows: Vec<_> = args
        .files
        .iter()
        .map(|path| (path.as_path(), one(path, anchors.as_deref())))
        .collect();
    if global.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(path, answer)| row_json(path, answer))
            .collect();
        output::print_json(&rows)?;
    } else {
        for (path, answer) in &rows {
            println!("{}", describe(path, answer));
        }
    }
    let holds = |answer: &Result<Report>| match answer {
        Ok(report) => match report.state {
            State::Trusted => true,
            State::Untrusted => anchors.is_none(),
            State::Invalid => false,
        },
        Err(_) => false,
    };
    let failed = rows.iter().filter(|(_, answer)| !holds(answer)).count();
    if failed > 0 {
        bail!("{failed} of {} files failed verification", rows.len());
    }
    Ok(())
}

fn one(path: &Path, anchors: Option<&str>) -> Result<Report> {
    let file = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(read(&file, anchors)?)
}

fn row_json(path: &Path, answer: &Result<Report>) -> Value {
    match answer {
        Ok(report) => json!({ "file": path, "provenance": report }),
        Err(error) => json!({ "file": path, "error": failure::describe(error) }),
    }
}

/// The report as lines of a name and a value, under the file's name and verdict.
fn describe(path: &Path, answer: &Result<Report>) -> String {
    let report = match answer {
        Ok(report) => report,
        Err(error) => return format!("{}: {}", path.display(), failure::describe(error)),
    };
    let verdict = match report.state {
        State::Trusted => "holds, signer trusted",
        State::Untrusted => "holds, but nothing vouches for the signer (see --trust)",
        State::Invalid => "DOES NOT HOLD",
    };
    // What a file says of itself may be anything, and must not steer the terminal.
    let line = |(name, value): &(_, String)| {
        format!("\n  {name:<19} {}", value.replace(char::is_control, " "))
    };
    let lines: String = lines(report).iter().map(line).collect();
    format!("{}: {verdict}{lines}", path.display())
}

fn lines(report: &Report) -> Vec<(&'static str, String)> {
    let mut lines: Vec<_> = report
        .failures
        .iter()
        .map(|failure| ("failure", failure.to_string()))
        .collect();
    if let Some(signer) = &report.signer {
        let name = format!(
            "{} ({}), {}",
            signer.common_name, signer.organization, signer.algorithm
        );
        lines.push(("signer", name));
        lines.push(("certificate SHA-256", signer.certificate_sha256.clone()));
    }
    for action in &report.actions {
        let by = action.software.as_ref().map(|name| format!(" by {name}"));
        lines.push(("action", action.action.clone() + &by.unwrap_or_default()));
        if let Some(kind) = &action.digital_source_type {
            lines.push(("digital source type", kind.clone()));
        }
    }
    if let Some(kind) = &report.xmp_digital_source_type {
        lines.push(("XMP source type", kind.clone()));
    }
    for ingredient in &report.ingredients {
        let text = format!("{} {}", ingredient.relationship, ingredient.instance_id);
        lines.push(("made from", text));
    }
    if let Some(made) = &report.snapshot {
        let parameters = made
            .parameters
            .iter()
            .map(|(name, value)| format!("{name} {value}"));
        lines.extend([
            ("prompt", made.prompt.clone()),
            ("label", made.label.clone()),
            ("seed", made.seed.to_string()),
            ("parameters", parameters.collect::<Vec<_>>().join(", ")),
            ("cost", format!("${}", made.cost_usd)),
            ("time", made.time.clone()),
            ("candidate", made.candidate_id.clone()),
            ("run", made.run_id.clone()),
        ]);
    }
    lines
}
