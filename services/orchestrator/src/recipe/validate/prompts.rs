//! The rules of prompt tables: texts of known classes, axes with values, no placeholder that nothing stands for.

use super::{Checked, invalid, name, require};
use crate::recipe::{Prompts, prompts::LABEL};

impl Prompts {
    pub(super) fn validate(&self, classes: &[String]) -> Checked {
        require(
            self.template.contains(LABEL),
            "prompts.template",
            &format!("{:?} has no {LABEL}", self.template),
        )?;
        placeholders("prompts.template", &self.template, &["label"])?;
        let axes: Vec<&str> = self.axes.keys().map(String::as_str).collect();
        for (axis, values) in &self.axes {
            axis_of_diversity(&format!("prompts.axes.{axis}"), axis, values)?;
        }
        for style in &self.styles {
            placeholders("prompts.styles", style, &axes)?;
        }
        let known: Vec<&str> = std::iter::once("label").chain(axes).collect();
        for (label, texts) in &self.texts {
            let key = format!("prompts.texts.{label}");
            require(classes.contains(label), &key, "is no class of the recipe")?;
            filled(&key, "text", texts)?;
            for text in texts {
                placeholders(&key, text, &known)?;
            }
        }
        Ok(())
    }
}

fn axis_of_diversity(key: &str, axis: &str, values: &[String]) -> Checked {
    name(key, axis)?;
    require(
        axis != "label",
        key,
        "has the name of the class's placeholder; choose another",
    )?;
    filled(key, "value", values)?;
    require(
        values.iter().all(|value| !value.contains(['{', '}'])),
        key,
        "has a value with a placeholder; values stand as they are",
    )
}

/// At least one entry, and none of them blank.
fn filled(key: &str, what: &str, entries: &[String]) -> Checked {
    require(
        !entries.is_empty() && entries.iter().all(|entry| !entry.trim().is_empty()),
        key,
        &format!("has an empty {what}; write one or leave the key out"),
    )
}

/// Every `{name}` in a text is a known one.
fn placeholders(key: &str, text: &str, known: &[&str]) -> Checked {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('{') {
        let Some((name, tail)) = after.split_once('}') else {
            return invalid(
                key,
                &format!("{text:?} opens a placeholder and does not close it"),
            );
        };
        require(
            known.contains(&name),
            key,
            &format!(
                "{text:?} has the placeholder {{{name}}}; known are: {}",
                known.join(", ")
            ),
        )?;
        rest = tail;
    }
    Ok(())
}
