//! The class names of a classifier, as config.json holds them.

use crate::error::{self, ModelError};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// `id2label` and `label2id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Labels {
    /// Class names by class index, 0..C without gaps.
    #[serde(deserialize_with = "by_index")]
    pub id2label: BTreeMap<u32, String>,
    pub label2id: BTreeMap<String, u32>,
}

impl Default for Labels {
    /// transformers' two classes.
    fn default() -> Self {
        Self::unnamed(2)
    }
}

impl Labels {
    /// These classes, in this order.
    pub fn new<L: Into<String>>(names: impl IntoIterator<Item = L>) -> Self {
        let id2label: BTreeMap<u32, String> =
            (0..).zip(names.into_iter().map(Into::into)).collect();
        let label2id = id2label.iter().map(|(id, label)| (label.clone(), *id));
        Self {
            label2id: label2id.collect(),
            id2label,
        }
    }

    /// transformers' names for classes without: LABEL_0, LABEL_1, ...
    pub fn unnamed(classes: usize) -> Self {
        Self::new((0..classes).map(|class| format!("LABEL_{class}")))
    }

    /// Class names in the order of the logits.
    pub fn names(&self) -> Vec<String> {
        self.id2label.values().cloned().collect()
    }

    /// Number of classes.
    pub fn classes(&self) -> i64 {
        self.id2label.len() as i64
    }

    /// # Errors
    /// [`ModelError::Config`] where the classes are not 0..C.
    pub fn check(&self) -> error::Result<()> {
        let mut ids = self.id2label.keys().zip(0..);
        if self.id2label.is_empty() || !ids.all(|(&id, expected)| id == expected) {
            return Err(ModelError::Config {
                key: "id2label",
                why: "must name classes 0..C without gaps".into(),
            });
        }
        Ok(())
    }
}

/// Class indices are JSON's keys, so text; a flattened structure gets them unparsed.
fn by_index<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<u32, String>, D::Error> {
    let named = BTreeMap::<String, String>::deserialize(from)?;
    let parsed = named.into_iter().map(|(index, label)| match index.parse() {
        Ok(index) => Ok((index, label)),
        Err(_) => Err(D::Error::custom(format!(
            "class index {index:?} is not a number"
        ))),
    });
    parsed.collect()
}
