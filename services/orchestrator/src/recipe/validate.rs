//! The rules a recipe obeys; every message names key, value and range.

mod diffusion;
mod prompts;
mod training;

use std::{collections::HashSet, fmt::Display, ops::RangeInclusive};

use super::{Cap, Gate, Generator, Recipe, RecipeError, Split, Thresholds};

type Checked = Result<(), RecipeError>;

/// Ranges of the scores of SAGA's own gates; a third party's gate states its range when it is asked.
const SCORES: &[(&str, f64, f64)] = &[
    ("quality-gate", 0.0, 1_040_400.0),
    ("ssim-gate", -1.0, 1.0),
    ("clip-gate", -1.0, 1.0),
    ("vit-classifier", 0.0, 1.0),
];

impl Recipe {
    pub(super) fn validate(&self) -> Checked {
        name("name", &self.name)?;
        classes(&self.classes)?;
        self.prompts.validate(&self.classes)?;
        self.split.validate()?;
        self.generator.validate()?;
        if let Some(wanted) = self.normalisation {
            within("normalisation.size", wanted.size, 16..=4_096)?;
        }
        self.validate_gates()?;
        self.validate_calibration()?;
        self.validate_plan()?;
        self.training.classifier.validate("training.classifier")?;
        self.training.clip.validate_clip("training.clip")?;
        if let Some(diffusion) = &self.training.diffusion {
            diffusion.validate("training.diffusion")?;
        }
        within("report.samples", self.report.samples, 0..=1_000)
    }

    fn validate_gates(&self) -> Checked {
        let mut seen = HashSet::new();
        for (index, gate) in self.gates.iter().enumerate() {
            let key = format!("gates[{index}]");
            name(&format!("{key}.name"), &gate.name)?;
            require(
                seen.insert(&gate.name),
                &format!("{key}.name"),
                &format!("{:?} is there twice", gate.name),
            )?;
            let reserved = ["generator", "error", "duplicate", "cap"].contains(&gate.name.as_str());
            require(
                !reserved,
                &format!("{key}.name"),
                &format!("{:?} is a word of the funnel; choose another", gate.name),
            )?;
            gate.validate(&key, &self.classes)?;
        }
        Ok(())
    }

    fn validate_calibration(&self) -> Checked {
        let Some(promise) = self.calibration else {
            return Ok(());
        };
        if let Some((field, why)) = promise.invalid() {
            return invalid(&format!("calibration.{field}"), &why);
        }
        require(
            self.split.calibration_fraction > 0.0,
            "split.calibration_fraction",
            "is 0 and [calibration] is there, which chooses thresholds on that split",
        )
    }

    fn validate_plan(&self) -> Checked {
        let plan = &self.plan;
        within(
            "plan.max_synthetic_fraction",
            plan.max_synthetic_fraction,
            0.0..=0.95,
        )?;
        if let Cap::Total(total) = plan.cap {
            within("plan.cap.total", total, 1..=1_000_000_000)?;
        }
        within("plan.tries_per_source", plan.tries_per_source, 1..=100)?;
        within("plan.sources_per_slot", plan.sources_per_slot, 1..=32)?;
        within(
            "plan.stop_after_rejections",
            plan.stop_after_rejections,
            1..=1_000_000,
        )?;
        within("plan.in_flight", plan.in_flight, 1..=1_000)?;
        if let Some(distance) = plan.max_phash_distance {
            within("plan.max_phash_distance", distance, 0..=4)?;
        }
        if let Some(cosine) = plan.max_clip_cosine {
            within("plan.max_clip_cosine", cosine, -1.0..=1.0)?;
            require(
                self.uses("clip-gate"),
                "plan.max_clip_cosine",
                "is set and no gate has the address clip-gate, which embeds",
            )?;
        }
        Ok(())
    }
}

impl Generator {
    fn validate(&self) -> Checked {
        if self.backends.is_empty() {
            address("generator.address", &self.address)?;
            return name("generator.backend", &self.backend);
        }
        require(
            self.backend.is_empty() && self.parameters.is_empty() && self.address.is_empty(),
            "generator",
            "names one backend and several; keep either `backend`, `parameters` and `address`, or `[[generator.backends]]`",
        )?;
        let mut seen = HashSet::new();
        for (index, backend) in self.backends.iter().enumerate() {
            let key = format!("generator.backends[{index}].name");
            name(&key, &backend.name)?;
            address(
                &format!("generator.backends[{index}].address"),
                &backend.address,
            )?;
            require(
                seen.insert(&backend.name),
                &key,
                &format!("{:?} is there twice", backend.name),
            )?;
        }
        Ok(())
    }
}

/// Empty, or of a server.
fn address(key: &str, address: &str) -> Checked {
    require(
        address.is_empty() || address.contains(':'),
        key,
        &format!("{address:?} is no address; give http://host:port"),
    )
}

impl Split {
    fn validate(&self) -> Checked {
        within(
            "split.golden_per_class",
            self.golden_per_class,
            1..=1_000_000,
        )?;
        within("split.golden_fraction", self.golden_fraction, 0.0..=0.9)?;
        within("split.val_fraction", self.val_fraction, 0.0..=0.5)?;
        within(
            "split.calibration_fraction",
            self.calibration_fraction,
            0.0..=0.5,
        )
    }
}

impl Gate {
    fn validate(&self, key: &str, classes: &[String]) -> Checked {
        require(
            !self.address.is_empty(),
            &format!("{key}.address"),
            "is empty; give a service's name or http://host:port",
        )?;
        self.thresholds
            .validate(&format!("{key}.thresholds"), &self.address)?;
        for (label, thresholds) in &self.per_class {
            let key = format!("{key}.per_class.{label}");
            require(classes.contains(label), &key, "is no class of the recipe")?;
            thresholds.validate(&key, &self.address)?;
            let merged = Thresholds {
                min: thresholds.min.or(self.thresholds.min),
                max: thresholds.max.or(self.thresholds.max),
            };
            merged.ordered(&key)?;
        }
        Ok(())
    }
}

impl Thresholds {
    fn validate(&self, key: &str, address: &str) -> Checked {
        let known = SCORES.iter().find(|(service, ..)| *service == address);
        let range = known.map_or(f64::MIN..=f64::MAX, |(_, lowest, highest)| {
            *lowest..=*highest
        });
        for (bound, value) in [("min", self.min), ("max", self.max)] {
            if let Some(value) = value {
                within(&format!("{key}.{bound}"), value, range.clone())?;
            }
        }
        self.ordered(key)
    }

    fn ordered(&self, key: &str) -> Checked {
        match (self.min, self.max) {
            (Some(min), Some(max)) if min > max => invalid(
                key,
                &format!("min {min} is above max {max}; nothing would pass"),
            ),
            _ => Ok(()),
        }
    }
}

fn classes(classes: &[String]) -> Checked {
    within("classes (count)", classes.len(), 2..=1_000)?;
    let mut seen = HashSet::new();
    for class in classes {
        name("classes", class)?;
        require(
            seen.insert(class),
            "classes",
            &format!("{class:?} is there twice"),
        )?;
    }
    Ok(())
}

/// Letters, digits, `-`, `_` and `.`, 1 to 64, and not only dots: safe as a file name and in every service's limits.
pub(crate) fn name(key: &str, value: &str) -> Checked {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let good =
        (1..=64).contains(&value.len()) && value.chars().all(allowed) && !value.starts_with('.');
    require(
        good,
        key,
        &format!(
            "{value:?} is no name: 1 to 64 letters, digits, '-', '_' and '.', not starting with '.'"
        ),
    )
}

fn within<T: PartialOrd + Display>(key: &str, value: T, range: RangeInclusive<T>) -> Checked {
    if range.contains(&value) {
        return Ok(());
    }
    let allowed = format!("{} to {}", range.start(), range.end());
    Err(RecipeError::OutOfRange {
        key: key.to_owned(),
        value: value.to_string(),
        allowed,
    })
}

fn require(holds: bool, key: &str, why: &str) -> Checked {
    if holds { Ok(()) } else { invalid(key, why) }
}

fn invalid(key: &str, why: &str) -> Checked {
    Err(RecipeError::Invalid {
        key: key.to_owned(),
        why: why.to_owned(),
    })
}

#[cfg(test)]
mod tests;
