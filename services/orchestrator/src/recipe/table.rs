//! Prompt texts in a file of their own beside the recipe: `texts = "FILE"` in `[prompts]`.
//!
//! | file | holds |
//! |---|---|
//! | `.csv` | columns `label` and `text`, one row a text |
//! | `.toml` | `label = ["text", "text"]` |
//!
//! A run keeps one recipe with everything in it, so the texts take the place of the file's name before a recipe is read.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use super::RecipeError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    label: String,
    text: String,
}

/// A recipe's TOML with the texts of the file that it names, relative to `folder`; a recipe that names none as it is.
///
/// # Errors
/// [`RecipeError::Unreadable`] with the file and what is wrong with it.
pub fn with_texts(recipe: &str, folder: &Path) -> Result<String, RecipeError> {
    // What does not parse is told with line and column when the recipe is read.
    let mut table: toml::Table = toml::from_str(recipe).unwrap_or_default();
    let texts = table
        .get_mut("prompts")
        .and_then(|prompts| prompts.get_mut("texts"));
    let Some(texts) = texts else {
        return Ok(recipe.to_owned());
    };
    let toml::Value::String(file) = texts else {
        return Ok(recipe.to_owned());
    };
    let path = folder.join(file.as_str());
    let unusable = |why: String| RecipeError::Unreadable {
        path: path.display().to_string(),
        why,
    };
    let read = read(&path).map_err(&unusable)?;
    *texts = toml::Value::try_from(read).map_err(|error| unusable(error.to_string()))?;
    toml::to_string(&table).map_err(|error| unusable(error.to_string()))
}

/// Texts by label, in the file's order.
fn read(path: &Path) -> Result<BTreeMap<String, Vec<String>>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => toml::from_str(&text).map_err(|error| error.to_string()),
        Some("csv") => {
            let mut texts = BTreeMap::<String, Vec<String>>::new();
            for row in csv::Reader::from_reader(text.as_bytes()).deserialize() {
                let Row { label, text } = row.map_err(|error| error.to_string())?;
                texts.entry(label).or_default().push(text);
            }
            Ok(texts)
        }
        _ => Err("is neither .csv nor .toml".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    const EMOTION: &str = include_str!("../../recipes/emotion.toml");

    /// The emotion recipe with its texts in a file.
    fn recipe(file: &str, contents: &str) -> Result<Recipe, RecipeError> {
        let mut table: toml::Table = toml::from_str(EMOTION).unwrap();
        table["prompts"]["texts"] = file.into();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file), contents).unwrap();
        let text = toml::to_string(&table).unwrap();
        Recipe::parse(&with_texts(&text, folder.path())?)
    }

    #[test]
    fn texts_of_csv_and_toml_are_those_of_the_recipe() {
        let csv =
            "label,text\nsad,a sad face\nfear,\"wide eyes, open mouth\"\nsad,a weeping face\n";
        let toml = "sad = ['a sad face', 'a weeping face']\nfear = ['wide eyes, open mouth']\n";
        let [csv, toml] = [recipe("t.csv", csv), recipe("t.toml", toml)].map(Result::unwrap);
        assert_eq!(csv, toml);
        assert_eq!(csv.prompts.texts("sad"), ["a sad face", "a weeping face"]);
        assert_eq!(csv.prompts.texts("fear"), ["wide eyes, open mouth"]);
        assert_eq!(csv.plan, Recipe::parse(EMOTION).unwrap().plan);
    }

    #[test]
    fn what_is_wrong_with_the_file_is_said_with_its_name() {
        let cases = [
            ("t.csv", "label,prompt\nsad,x\n", "t.csv: CSV"),
            (
                "t.csv",
                "label,text\ngloomy,x\n",
                "prompts.texts.gloomy: is no class",
            ),
            (
                "t.csv",
                "label,text\nsad,\n",
                "prompts.texts.sad: has an empty text",
            ),
            ("t.toml", "sad = 3", "t.toml: TOML"),
            ("t.txt", "", "t.txt: is neither .csv nor .toml"),
        ];
        for (file, contents, expected) in cases {
            let error = recipe(file, contents).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let missing = with_texts("[prompts]\ntexts = 'gone.csv'", Path::new("/nowhere"));
        let error = missing.unwrap_err().to_string();
        assert!(error.contains("/nowhere/gone.csv"), "{error}");
    }

    #[test]
    fn a_recipe_without_such_a_file_stays_as_it_is() {
        for text in [EMOTION, "not = [toml", ""] {
            assert_eq!(with_texts(text, Path::new("/nowhere")).unwrap(), text);
        }
    }
}
