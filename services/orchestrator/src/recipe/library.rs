//! Recipes by name: those compiled in, and those of the orchestrator's recipe folder.

use std::path::PathBuf;

use super::{Recipe, RecipeError};

/// The recipes that are compiled in, by name.
const COMPILED_IN: &[(&str, &str)] = &[
    ("studio", include_str!("../../recipes/studio.toml")),
    ("emotion", include_str!("../../recipes/emotion.toml")),
];

/// Finds recipes by name.
#[derive(Debug, Clone, Default)]
pub struct Library {
    folder: Option<PathBuf>,
}

impl Library {
    /// With a folder of `NAME.toml` files beside the compiled-in ones; empty: none.
    pub fn new(folder: &str) -> Self {
        Self {
            folder: (!folder.is_empty()).then(|| PathBuf::from(folder)),
        }
    }

    /// The compiled-in recipes, name and TOML.
    pub fn compiled_in() -> impl Iterator<Item = (&'static str, &'static str)> {
        COMPILED_IN.iter().copied()
    }

    /// The TOML of a recipe. The folder's recipe wins over a compiled-in one of the same name.
    ///
    /// # Errors
    /// [`RecipeError::Unknown`] with the known names.
    pub fn text(&self, name: &str) -> Result<String, RecipeError> {
        super::validate::name("recipe", name)?;
        if let Some((folder, path)) = self
            .folder
            .as_ref()
            .map(|folder| (folder, folder.join(format!("{name}.toml"))))
            .filter(|(_, path)| path.is_file())
        {
            let text = std::fs::read_to_string(&path).map_err(|error| RecipeError::Unreadable {
                path: path.display().to_string(),
                why: error.to_string(),
            })?;
            return super::with_texts(&text, folder);
        }
        let compiled = COMPILED_IN.iter().find(|(known, _)| *known == name);
        compiled
            .map(|(_, text)| (*text).to_owned())
            .ok_or_else(|| RecipeError::Unknown {
                name: name.to_owned(),
                known: self.known(),
            })
    }

    /// Reads and checks a recipe by name.
    ///
    /// # Errors
    /// As [`Library::text`] and [`Recipe::parse`].
    pub fn recipe(&self, name: &str) -> Result<Recipe, RecipeError> {
        Recipe::parse(&self.text(name)?)
    }

    fn known(&self) -> String {
        let mut names: Vec<String> = COMPILED_IN
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let entries = self
            .folder
            .iter()
            .filter_map(|folder| std::fs::read_dir(folder).ok())
            .flatten()
            .flatten();
        names.extend(entries.filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_suffix(".toml")
                .map(str::to_owned)
        }));
        names.sort();
        names.dedup();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_compiled_in_recipe_is_valid_and_carries_its_name() {
        for (name, text) in Library::compiled_in() {
            assert_eq!(Recipe::parse(text).unwrap().name, name);
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = Library::default()
            .recipe("emotions")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("\"emotions\"") && error.contains("emotion, studio"),
            "{error}"
        );
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        assert!(matches!(
            Library::new("/tmp").text("../etc/passwd"),
            Err(RecipeError::Invalid { .. })
        ));
    }
}
