//! Settings of a backend that a request gives by name. What is read is checked, what is in force is kept for the
//! provenance, and names that nobody reads are errors.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::error::GenerateError;

/// Reads a request's parameters.
pub struct Parameters {
    given: BTreeMap<String, String>,
    in_force: BTreeMap<String, String>,
}

impl Parameters {
    /// The parameters as given.
    pub fn new(given: BTreeMap<String, String>) -> Self {
        Self {
            given,
            in_force: BTreeMap::new(),
        }
    }

    /// A number within a range, or its default.
    ///
    /// # Errors
    /// Text that is no such number, or one out of range.
    pub fn number<T>(
        &mut self,
        name: &str,
        default: T,
        range: RangeInclusive<T>,
    ) -> Result<T, GenerateError>
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let value = self.optional_number(name, range)?.unwrap_or(default);
        self.note(name, value);
        Ok(value)
    }

    /// A number within a range, where given.
    ///
    /// # Errors
    /// As [`Self::number`].
    pub fn optional_number<T>(
        &mut self,
        name: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, GenerateError>
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let Some(text) = self.given.remove(name) else {
            return Ok(None);
        };
        let value = text.parse().ok().filter(|value| range.contains(value));
        let why = || {
            format!(
                "is '{text}'; it must be a number in {} to {}",
                range.start(),
                range.end()
            )
        };
        value.map(Some).ok_or_else(|| invalid(name, why()))
    }

    /// Whether a switch is on; off where it is not given.
    ///
    /// # Errors
    /// Another text than "true" and "false".
    pub fn flag(&mut self, name: &str) -> Result<bool, GenerateError> {
        let Some(text) = self.given.remove(name) else {
            return Ok(false);
        };
        let on = text.parse().map_err(|_| {
            invalid(
                name,
                format!("is '{text}'; it must be \"true\" or \"false\""),
            )
        })?;
        self.note(name, on);
        Ok(on)
    }

    /// A text, where given.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.given.remove(name)
    }

    /// Keeps what is in force for the provenance.
    pub fn note(&mut self, name: &str, value: impl Display) {
        self.in_force.insert(name.to_owned(), value.to_string());
    }

    /// Refuses names that nobody read. Call it when everything has been read; `known` are the names there are.
    ///
    /// # Errors
    /// The first such name.
    pub fn check_all_read(&self, known: &[&str]) -> Result<(), GenerateError> {
        match self.given.keys().next() {
            None => Ok(()),
            Some(name) => Err(invalid(
                name,
                format!(
                    "is not a parameter of this backend, which has {}",
                    known.join(", ")
                ),
            )),
        }
    }

    /// What was in force.
    pub fn in_force(self) -> BTreeMap<String, String> {
        self.in_force
    }
}

/// An error that names the parameter.
pub fn invalid(name: &str, why: impl Into<String>) -> GenerateError {
    GenerateError::invalid(format!("spec.parameters[\"{name}\"]"), why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(name: &str, value: &str) -> Parameters {
        Parameters::new(BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn defaults_and_given_values_are_both_in_force() {
        let mut parameters = given("strength", "0.5");
        assert_eq!(parameters.number("strength", 0.9, 0.0..=1.0), Ok(0.5));
        assert_eq!(parameters.number("quality", 95_u8, 50..=100), Ok(95));
        parameters.check_all_read(&["strength", "quality"]).unwrap();
        let in_force = parameters.in_force();
        assert_eq!(
            (in_force["strength"].as_str(), in_force["quality"].as_str()),
            ("0.5", "95")
        );
    }

    #[test]
    fn bad_values_and_unknown_names_name_the_parameter() {
        for text in ["1.5", "NaN", "much", ""] {
            let error = given("strength", text)
                .number("strength", 0.9, 0.0..=1.0)
                .unwrap_err();
            assert!(
                error.to_string().contains("spec.parameters[\"strength\"]")
                    && error.to_string().contains("0 to 1"),
                "{error}"
            );
        }
        let error = given("strenght", "1")
            .check_all_read(&["strength"])
            .unwrap_err();
        assert!(
            error.to_string().contains("strenght")
                && error.to_string().contains("which has strength"),
            "{error}"
        );
    }
}
