//! Lays configuration sources over each other as TOML tables, remembering which came last.

use std::path::Path;

use toml::{Table, Value};

use crate::config::{ConfigError, Flag, Layer};

/// `[server]` and `[telemetry]`.
pub(crate) const SHARED_DEFAULTS: &str = include_str!("defaults.toml");

/// The sources laid on so far.
pub(crate) struct Merged {
    table: Table,
    latest: Layer,
}

impl Merged {
    /// The shared defaults, overlaid by those of the service.
    pub(crate) fn new(service_defaults: &str) -> Result<Self, ConfigError> {
        let mut merged = Self {
            table: parse(SHARED_DEFAULTS, Layer::Defaults)?,
            latest: Layer::Defaults,
        };
        merge(&mut merged.table, parse(service_defaults, Layer::Defaults)?);
        Ok(merged)
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    pub(crate) fn latest(&self) -> Layer {
        self.latest.clone()
    }

    pub(crate) fn lay_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
            path: path.to_owned(),
            error,
        })?;
        self.latest = Layer::File(path.to_owned());
        let table = parse(&text, self.latest())?;
        merge(&mut self.table, table);
        Ok(())
    }

    /// `variable` is the whole name; its part after the service names the key.
    pub(crate) fn lay_variable(&mut self, variable: &str, value: &str) -> Result<(), ConfigError> {
        self.latest = Layer::Variable(variable.to_owned());
        let key: Vec<String> = variable
            .split("__")
            .skip(1)
            .map(str::to_lowercase)
            .collect();
        self.set(&key, value)
    }

    pub(crate) fn lay_flag(&mut self, flag: &Flag) -> Result<(), ConfigError> {
        self.latest = Layer::Flag(flag.flag);
        let key: Vec<String> = flag.key.split('.').map(str::to_owned).collect();
        self.set(&key, &flag.value)
    }

    fn set(&mut self, key: &[String], text: &str) -> Result<(), ConfigError> {
        let invalid = || ConfigError::Invalid {
            layer: self.latest.clone(),
            message: format!("`{}` names no single value", key.join(".")),
        };
        let Some((last, sections)) = key.split_last() else {
            return Err(invalid());
        };
        let mut table = &mut self.table;
        for section in sections {
            let entry = table
                .entry(section.clone())
                .or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = entry else {
                return Err(invalid());
            };
            table = inner;
        }
        let value = value_like(table.get(last), text);
        table.insert(last.clone(), value);
        Ok(())
    }
}

/// The variables of one service, sorted by name so that errors do not depend on the environment's order.
pub(crate) fn variables_of(
    service: &str,
    environment: impl Iterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    let prefix = format!("SAGA_{}__", service.replace('-', "_").to_uppercase());
    let mut variables: Vec<_> = environment
        .filter(|(name, _)| name.starts_with(&prefix))
        .collect();
    variables.sort();
    variables
}

/// Text from outside TOML: a string where a string was, else what TOML makes of it.
fn value_like(present: Option<&Value>, text: &str) -> Value {
    let as_text = || Value::String(text.to_owned());
    match present {
        Some(Value::String(_)) => as_text(),
        _ => toml::from_str::<Table>(&format!("value = {text}"))
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(as_text),
    }
}

fn parse(text: &str, layer: Layer) -> Result<Table, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError::Syntax {
        layer,
        message: error.to_string().trim().to_owned(),
    })
}

/// Tables merge key by key; everything else replaces.
fn merge(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => merge(inner, value),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}
