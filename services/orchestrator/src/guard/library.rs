//! The guards of the recipes that callers name; each is bound once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Guard, GuardError};
use crate::{config::Config, recipe::Library};

/// Guards by recipe name.
#[derive(Debug)]
pub struct Guards {
    config: Config,
    library: Library,
    bound: Mutex<HashMap<String, Guard>>,
}

impl Guards {
    /// No guard bound yet.
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            library: Library::new(&config.recipes.folder),
            bound: Mutex::default(),
        }
    }

    /// The guard of a recipe; an empty name is the configured default.
    ///
    /// # Errors
    /// An unknown or bad recipe, or a gate without an address.
    pub fn get(&self, recipe: &str) -> Result<Guard, GuardError> {
        let name = if recipe.is_empty() {
            &self.config.recipes.default
        } else {
            recipe
        };
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(guard) = bound.get(name) {
            return Ok(guard.clone());
        }
        let recipe = Arc::new(self.library.recipe(name)?);
        let guard = Guard::new(recipe, &self.config.addresses, self.config.retry)?;
        bound.insert(name.to_owned(), guard.clone());
        Ok(guard)
    }
}
