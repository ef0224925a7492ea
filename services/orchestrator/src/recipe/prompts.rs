//! The prompt table: texts of each class with style suffixes that cycle deterministically by index.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Placeholder of the class name in the template.
pub(super) const LABEL: &str = "{label}";

/// Texts of each class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompts {
    /// What gates compare a candidate with; holds `{label}`.
    pub template: String,
    /// Suffixes (light, lens, detail) appended in turn.
    #[serde(default)]
    pub styles: Vec<String>,
    /// Texts by class; a class without an entry uses the template.
    #[serde(default)]
    pub texts: BTreeMap<String, Vec<String>>,
}

impl Prompts {
    /// The prompt that gates get, for example "a photo of a happy face".
    pub fn of_label(&self, label: &str) -> String {
        self.template.replace(LABEL, label)
    }

    /// The generation prompt at an index: texts change first, then styles; the table repeats when it is used up.
    pub fn generation(&self, label: &str, index: u64) -> String {
        let texts = self.of_class(label);
        let style = index.checked_div(texts.len() as u64).unwrap_or(0);
        with_style(&pick(&texts, index), &pick(&self.styles, style))
    }

    /// The texts that CLIP is trained on for a class: the gate's prompt, then each text plain and with a style.
    pub fn training(&self, label: &str) -> Vec<String> {
        let texts = self.of_class(label);
        let styled = (0..texts.len().max(self.styles.len()) as u64)
            .filter(|_| !self.styles.is_empty())
            .map(|index| with_style(&pick(&texts, index), &pick(&self.styles, index)));
        let mut all = vec![self.of_label(label)];
        for text in texts.iter().cloned().chain(styled) {
            if !all.contains(&text) {
                all.push(text);
            }
        }
        all
    }

    /// SHA-256 of the table, 64 hexadecimal digits: the prompt version.
    pub fn version(&self, classes: &[String]) -> String {
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        part(&self.template);
        self.styles.iter().for_each(|style| part(style));
        for class in classes {
            part(class);
            self.of_class(class).iter().for_each(|text| part(text));
        }
        hash.finalize()
            .iter()
            .fold(String::with_capacity(64), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            })
    }

    fn of_class(&self, label: &str) -> Vec<String> {
        match self.texts.get(label) {
            Some(texts) if !texts.is_empty() => texts.clone(),
            _ => vec![self.of_label(label)],
        }
    }
}

/// The item at `index`, cyclically; empty where there are none.
fn pick(items: &[String], index: u64) -> String {
    let position = index.checked_rem(items.len() as u64).unwrap_or(0);
    items.get(position as usize).cloned().unwrap_or_default()
}

fn with_style(text: &str, style: &str) -> String {
    if style.is_empty() {
        text.to_owned()
    } else {
        format!("{text}, {style}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Prompts {
        Prompts {
            template: "a photo of a {label} face".into(),
            styles: vec!["soft light".into(), "sharp".into()],
            texts: BTreeMap::from([(
                "sad".into(),
                vec!["a sad face".into(), "a weeping face".into()],
            )]),
        }
    }

    #[test]
    fn texts_cycle_first_then_styles() {
        let prompts: Vec<_> = (0..5)
            .map(|index| table().generation("sad", index))
            .collect();
        let expected = [
            "a sad face, soft light",
            "a weeping face, soft light",
            "a sad face, sharp",
            "a weeping face, sharp",
            "a sad face, soft light",
        ];
        assert_eq!(prompts, expected);
        assert_eq!(
            table().generation("fear", 0),
            "a photo of a fear face, soft light"
        );
    }

    #[test]
    fn clip_trains_on_the_prompt_the_gate_asks_with() {
        let texts = table().training("sad");
        assert_eq!(texts[0], "a photo of a sad face");
        assert!(
            texts.contains(&"a weeping face".to_owned())
                && texts.contains(&"a weeping face, sharp".to_owned())
        );
    }

    #[test]
    fn the_version_changes_with_any_text() {
        let classes = ["sad".to_owned(), "fear".to_owned()];
        let mut other = table();
        other.styles[1] = "blurred".into();
        assert_eq!(table().version(&classes).len(), 64);
        assert_eq!(table().version(&classes), table().version(&classes));
        assert_ne!(table().version(&classes), other.version(&classes));
    }
}
