//! Words about an image: what is asked of a text model, and whether its answer is that.

use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Labels to choose from; none: the model's own.
    pub labels: Vec<String>,
    /// How many comments.
    pub comments: usize,
}

/// What a model says of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// One sentence.
    pub caption: String,
    pub labels: Vec<String>,
    #[serde(default)]
    pub comments: Vec<String>,
}

/// Why an answer is not what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWanted {
    #[error("the answer is not the JSON that was asked for ({0})")]
    Json(String),
    #[error("the caption is empty")]
    NoCaption,
    #[error("'{0}' is none of the labels to choose from")]
    Label(String),
    #[error("{found} comments where {wanted} were asked for")]
    Comments { found: usize, wanted: usize },
}

impl Wanted {
    /// The words of an answer in JSON.
    ///
    /// # Errors
    /// The first thing that is not as it was asked for.
    pub fn read(&self, json: &str) -> Result<Words, NotWanted> {
        let words: Words =
            serde_json::from_str(json).map_err(|error| NotWanted::Json(error.to_string()))?;
        if words.caption.trim().is_empty() {
            return Err(NotWanted::NoCaption);
        }
        let unknown = |label: &&String| !self.labels.is_empty() && !self.labels.contains(label);
        if let Some(label) = words.labels.iter().find(unknown) {
            return Err(NotWanted::Label(label.clone()));
        }
        match (words.comments.len(), self.comments) {
            (found, wanted) if found == wanted => Ok(words),
            (found, wanted) => Err(NotWanted::Comments { found, wanted }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_was_asked_or_says_what_is_wrong() {
        let wanted = Wanted {
            labels: vec!["march".into(), "vigil".into()],
            comments: 1,
        };
        let good = r#"{"caption": "People walk.", "labels": ["march"], "comments": ["Yes!"]}"#;
        let words = Words {
            caption: "People walk.".into(),
            labels: vec!["march".into()],
            comments: vec!["Yes!".into()],
        };
        assert_eq!(wanted.read(good), Ok(words));
        assert!(matches!(wanted.read("I cannot"), Err(NotWanted::Json(_))));
        let blank = good.replace("People walk.", " ");
        assert_eq!(wanted.read(&blank), Err(NotWanted::NoCaption));
        let label = good.replace("march", "sale");
        assert_eq!(wanted.read(&label), Err(NotWanted::Label("sale".into())));
        let free = Wanted {
            labels: Vec::new(),
            comments: 2,
        };
        assert!(matches!(
            free.read(&label),
            Err(NotWanted::Comments {
                found: 1,
                wanted: 2
            })
        ));
    }
}
