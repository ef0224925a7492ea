//! Who makes candidates: one backend or several, each with its own parameters.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The `[generator]` section: either `backend` with `parameters`, or one `[[generator.backends]]` for each of several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generator {
    /// The only backend, for example `studio` or `exemplar`.
    #[serde(default)]
    pub backend: String,
    /// The only backend's parameters.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Several backends. They take turns, or the bandit chooses among them.
    #[serde(default)]
    pub backends: Vec<Backend>,
}

/// A backend and its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// The name that the generator service knows it by.
    pub name: String,
    /// Passed to the backend as they are.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
}

impl Generator {
    /// The names of the backends with commas between, as runs are started with them.
    pub fn names(&self) -> String {
        let several = self.backends.iter().map(|backend| backend.name.as_str());
        let names: Vec<&str> = several
            .chain((!self.backend.is_empty()).then_some(self.backend.as_str()))
            .collect();
        names.join(",")
    }

    /// The backends of these names, with commas between. One that the recipe names comes with its parameters there.
    pub fn chosen(&self, names: &str) -> Vec<Backend> {
        let parameters = |name: &str| {
            let several = self.backends.iter().find(|backend| backend.name == name);
            several.map_or_else(
                || self.parameters.clone(),
                |backend| backend.parameters.clone(),
            )
        };
        let backend = |name: &str| Backend {
            name: name.to_owned(),
            parameters: parameters(name),
        };
        names.split(',').map(backend).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generator(text: &str) -> Generator {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn one_backend_and_several_are_read_alike() {
        let one = generator("backend = \"studio\"\nparameters = { strength = \"0.4\" }");
        assert_eq!(one.names(), "studio");
        assert_eq!(one.chosen("studio")[0].parameters["strength"], "0.4");
        let several = generator(
            "[[backends]]\nname = \"gemini\"\nparameters = { model = \"m\" }\n[[backends]]\nname = \"studio\"",
        );
        assert_eq!(several.names(), "gemini,studio");
        let chosen = several.chosen("studio,gemini");
        assert_eq!(
            (chosen[0].name.as_str(), chosen[0].parameters.len()),
            ("studio", 0)
        );
        assert_eq!(chosen[1], several.backends[0]);
    }
}
