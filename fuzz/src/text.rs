//! Names and texts, right and wrong.

use arbitrary::Arbitrary;

/// The name that services load their model under.
const LOADED: &str = "default";

/// Which model is asked.
#[derive(Debug, Arbitrary)]
pub enum Model {
    Default,
    Loaded,
    Unknown(Text),
}

impl From<Model> for String {
    fn from(model: Model) -> Self {
        match model {
            Model::Default => Self::new(),
            Model::Loaded => LOADED.to_owned(),
            Model::Unknown(name) => name.into(),
        }
    }
}

/// A sentence.
#[derive(Debug, Arbitrary)]
pub enum Text {
    Any(String),
    /// Longer than any context.
    Long(String, u16),
    /// With the tokens that begin and end sentences inside.
    Special(String, String),
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        match text {
            Text::Any(text) => text,
            Text::Long(text, times) => text.chars().take(16).collect::<Self>().repeat(times.into()),
            Text::Special(before, after) => format!("{before}<|endoftext|>{after}<|startoftext|>"),
        }
    }
}
