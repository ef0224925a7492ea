//! What can be wrong with a recipe.

/// A recipe that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// Broken TOML, an unknown or missing key, or a value of the wrong type; says line and column.
    #[error("the recipe does not parse: {0}")]
    Syntax(String),
    /// A number outside its range.
    #[error("recipe key {key} is {value}; allowed is {allowed}")]
    OutOfRange {
        /// Dotted key.
        key: String,
        /// The value given.
        value: String,
        /// The range in words.
        allowed: String,
    },
    /// A value that breaks a rule.
    #[error("recipe key {key}: {why}")]
    Invalid {
        /// Dotted key.
        key: String,
        /// The rule and what to do.
        why: String,
    },
    /// No recipe has this name.
    #[error("no recipe is named {name:?}; known are {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The known names.
        known: String,
    },
    /// The recipe folder's file cannot be read.
    #[error("recipe file {path}: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's words.
        why: String,
    },
}

impl RecipeError {
    /// The dotted key the error is about, where there is one.
    pub fn key(&self) -> &str {
        match self {
            Self::OutOfRange { key, .. } | Self::Invalid { key, .. } => key,
            _ => "recipe",
        }
    }
}
