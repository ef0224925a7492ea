//! The prompt table: texts of each class, with style suffixes and diversity axes that cycle deterministically by index.
//!
//! An index counts in mixed radix: texts change first, then styles, then the axes in the order of their names. So every
//! combination comes once before any comes again.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Placeholder of the class name in template and texts.
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
    /// Values by axis of diversity (lighting, lens, age). One is put where text or style holds `{axis}`, else appended.
    #[serde(default)]
    pub axes: BTreeMap<String, Vec<String>>,
    /// Texts by class, which may hold `{label}` and `{axis}`; a class without an entry uses the template.
    #[serde(default)]
    pub texts: BTreeMap<String, Vec<String>>,
}

impl Prompts {
    /// The prompt that gates get, for example "a photo of a happy face".
    pub fn of_label(&self, label: &str) -> String {
        self.template.replace(LABEL, label)
    }

    /// The texts of a class, at least one; the axes' placeholders are still in them.
    pub fn texts(&self, label: &str) -> Vec<String> {
        match self.texts.get(label) {
            Some(texts) if !texts.is_empty() => texts
                .iter()
                .map(|text| text.replace(LABEL, label))
                .collect(),
            _ => vec![self.of_label(label)],
        }
    }

    /// The text of a class at an index, and the prompt that is made of it.
    pub fn generation(&self, label: &str, mut index: u64) -> (String, String) {
        let text = turn(&self.texts(label), &mut index).to_owned();
        let prompt = self.variant(&text, index);
        (text, prompt)
    }

    /// One of [`Prompts::texts`] with style and axes: styles change first, then the axes in the order of their names.
    pub fn variant(&self, text: &str, mut index: u64) -> String {
        let mut prompt = joined(text, turn(&self.styles, &mut index));
        for (axis, values) in &self.axes {
            let (value, placeholder) = (turn(values, &mut index), placeholder(axis));
            prompt = if prompt.contains(&placeholder) {
                prompt.replace(&placeholder, value)
            } else {
                joined(&prompt, value)
            };
        }
        prompt
    }

    /// The texts that CLIP is trained on for a class: the gate's prompt, then each text plain and with a style. Of the axes
    /// only those that a text names have a place in them, with one value after the other.
    pub fn training(&self, label: &str) -> Vec<String> {
        let texts = self.texts(label);
        let styled = (0..texts.len().max(self.styles.len()))
            .filter(|_| !self.styles.is_empty())
            .map(|index| joined(cyclic(&texts, index), cyclic(&self.styles, index)));
        let mut all = vec![self.of_label(label)];
        for (index, text) in texts.iter().cloned().chain(styled).enumerate() {
            let text = self.axes.iter().fold(text, |text, (axis, values)| {
                text.replace(&placeholder(axis), cyclic(values, index))
            });
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
            self.texts(class).iter().for_each(|text| part(text));
        }
        for (axis, values) in &self.axes {
            part(&placeholder(axis));
            values.iter().for_each(|value| part(value));
        }
        hash.finalize()
            .iter()
            .fold(String::with_capacity(64), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            })
    }
}

/// What stands for an axis's value in a text.
fn placeholder(axis: &str) -> String {
    format!("{{{axis}}}")
}

/// The item at the lowest digit of the index, which is taken off; empty where there are none.
fn turn<'a>(items: &'a [String], index: &mut u64) -> &'a str {
    let radix = items.len() as u64;
    let digit = index.checked_rem(radix).unwrap_or(0);
    *index = index.checked_div(radix).unwrap_or(*index);
    cyclic(items, digit as usize)
}

/// The item at `index`, cyclically; empty where there are none.
fn cyclic(items: &[String], index: usize) -> &str {
    let position = index.checked_rem(items.len()).unwrap_or(0);
    items.get(position).map_or("", String::as_str)
}

/// Two phrases with a comma between; one of them may be empty.
fn joined(text: &str, suffix: &str) -> String {
    if suffix.is_empty() {
        text.to_owned()
    } else {
        format!("{text}, {suffix}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn strings(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    fn table() -> Prompts {
        Prompts {
            template: "a photo of a {label} face".into(),
            styles: strings(&["soft light", "sharp"]),
            axes: BTreeMap::new(),
            texts: BTreeMap::from([("sad".into(), strings(&["a sad face", "a weeping face"]))]),
        }
    }

    fn with_axes() -> Prompts {
        let axes = [
            ("lens", strings(&["35mm", "50mm", "85mm"])),
            ("age", strings(&["young", "old"])),
        ];
        Prompts {
            axes: axes.map(|(axis, values)| (axis.to_owned(), values)).into(),
            texts: BTreeMap::from([(
                "sad".into(),
                strings(&["a {label}, {age} face", "a weeping face"]),
            )]),
            ..table()
        }
    }

    #[test]
    fn texts_cycle_first_then_styles() {
        let prompts: Vec<_> = (0..5)
            .map(|index| table().generation("sad", index).1)
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
            table().generation("fear", 0).1,
            "a photo of a fear face, soft light"
        );
    }

    #[test]
    fn axes_cycle_after_styles_in_the_order_of_their_names() {
        let at = |index| with_axes().generation("sad", index).1;
        assert_eq!(at(0), "a sad, young face, soft light, 35mm");
        assert_eq!(at(4), "a sad, old face, soft light, 35mm");
        assert_eq!(at(5), "a weeping face, soft light, old, 35mm");
        assert_eq!(at(8), "a sad, young face, soft light, 50mm");
        let all: HashSet<String> = (0..24).map(at).collect();
        assert_eq!(all.len(), 2 * 2 * 2 * 3, "every combination once");
        assert_eq!(at(24), at(0));
    }

    #[test]
    fn clip_trains_on_the_prompt_the_gate_asks_with() {
        let expected = [
            "a photo of a sad face",
            "a sad face",
            "a weeping face",
            "a sad face, soft light",
            "a weeping face, sharp",
        ];
        assert_eq!(table().training("sad"), expected);
        let axes = Prompts {
            axes: with_axes().axes,
            ..table()
        };
        assert_eq!(axes.training("sad"), expected, "axes that no text names");
        let named = with_axes().training("sad");
        assert!(named.iter().all(|text| !text.contains('{')), "{named:?}");
        assert!(named.contains(&"a sad, young face".to_owned()));
    }

    #[test]
    fn the_version_changes_with_any_text_and_any_axis() {
        let classes = strings(&["sad", "fear"]);
        let version = |prompts: &Prompts| prompts.version(&classes);
        // Runs under way must find their version again.
        assert_eq!(
            version(&table()),
            "1f667d4f1549a3380ea5e09a221810ceb3cf4ed2aa78567f71df9e5e85f24ff0"
        );
        let (mut text, mut axis) = (table(), with_axes());
        text.styles[1] = "blurred".into();
        axis.axes.insert("age".into(), strings(&["young", "aged"]));
        let versions = [&table(), &text, &with_axes(), &axis].map(version);
        assert_eq!(HashSet::from(versions).len(), 4);
    }
}
