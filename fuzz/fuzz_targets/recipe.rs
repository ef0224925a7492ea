//! Recipes: TOML that is refused by key, or a recipe whose own TOML is taken again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use orchestrator::recipe::Recipe;

fuzz_target!(|text: &str| {
    if let Ok(recipe) = Recipe::parse(text) {
        for class in &recipe.classes {
            assert!(recipe.class_index(class).is_some());
        }
    }
});
