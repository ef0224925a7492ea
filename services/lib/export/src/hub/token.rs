//! The access token: read once, sent to the hub alone, never printed.

use super::error::HubError;
use std::fmt;
use std::path::Path;

/// Where it is, if no file is named.
const VARIABLE: &str = "HF_TOKEN";

/// A secret that the hub knows its user by.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Of a file, or of the variable `HF_TOKEN` where there is none.
    ///
    /// # Errors
    /// [`HubError::Token`], which does not quote what it found.
    pub fn find(file: Option<&Path>) -> Result<Self, HubError> {
        match file {
            Some(path) => {
                let read = std::fs::read_to_string(path);
                let text = read.map_err(|error| {
                    HubError::Token(format!("cannot read {}: {error}", path.display()))
                })?;
                Self::new(&text, &path.display().to_string())
            }
            None => {
                let text = std::env::var(VARIABLE).unwrap_or_default();
                Self::new(&text, VARIABLE)
            }
        }
    }

    /// `whence` is where it was found, for the message.
    fn new(text: &str, whence: &str) -> Result<Self, HubError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(HubError::Token(format!(
                "{whence} holds none; set {VARIABLE}, or name a file that holds it"
            )));
        }
        if !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err(HubError::Token(format!(
                "{whence} holds more than one word of plain characters"
            )));
        }
        Ok(Self(text.to_owned()))
    }

    /// For the header of a request alone.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_of_a_file_and_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "hf_secret\n").unwrap();
        let token = Token::find(Some(&path)).unwrap();
        assert_eq!(
            (token.expose(), format!("{token:?}").as_str()),
            ("hf_secret", "***")
        );
        for wrong in ["", " \n", "two words", "hf_s\u{e9}cret"] {
            std::fs::write(&path, wrong).unwrap();
            let message = Token::find(Some(&path)).unwrap_err().to_string();
            assert!(
                message.contains("token") && !message.contains("cret"),
                "{message}"
            );
        }
        let absent = Token::find(Some(&folder.path().join("none"))).unwrap_err();
        assert!(absent.to_string().contains("cannot read"), "{absent}");
    }
}
