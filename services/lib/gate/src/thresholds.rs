//! The bounds a score is compared with: the gate's defaults, overridden item by item.

use std::collections::HashMap;

use saga_chassis::status::invalid_argument;
use saga_proto::gate::v1::ThresholdSpec;
use tonic::Status;

/// A score is accepted where `min <= score <= max`; an absent bound does not apply.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Thresholds {
    /// Smallest score accepted.
    pub min: Option<f64>,
    /// Largest score accepted.
    pub max: Option<f64>,
}

impl Thresholds {
    /// The defaults of `specs` with the item's overrides.
    ///
    /// # Errors
    /// INVALID_ARGUMENT on `item.thresholds` for a name that no spec has, a value outside its spec's range, and
    /// a minimum above the maximum.
    pub fn resolve(
        specs: &[ThresholdSpec],
        overrides: &HashMap<String, f64>,
    ) -> Result<Self, Status> {
        for (name, value) in overrides {
            let Some(spec) = specs.iter().find(|spec| spec.name == *name) else {
                let names: Vec<_> = specs.iter().map(|spec| spec.name.as_str()).collect();
                return Err(refused(format!(
                    "has no \"{name}\"; this gate takes: {}",
                    names.join(", ")
                )));
            };
            // Written so that a NaN is out of range too.
            if !(spec.lowest..=spec.highest).contains(value) {
                let (lowest, highest) = (spec.lowest, spec.highest);
                return Err(refused(format!(
                    "\"{name}\" is {value}; it must lie in {lowest} to {highest}"
                )));
            }
        }
        let bound = |name: &str| {
            let spec = specs.iter().find(|spec| spec.name == name)?;
            Some(overrides.get(name).copied().unwrap_or(spec.default_value))
        };
        match (bound("min"), bound("max")) {
            (Some(min), Some(max)) if min > max => Err(refused(format!(
                "\"min\" is {min} and \"max\" is {max}; no score can lie between"
            ))),
            (min, max) => Ok(Self { min, max }),
        }
    }

    /// ACCEPTED, BELOW_MIN or ABOVE_MAX.
    #[must_use]
    pub fn reason(&self, score: f64) -> &'static str {
        if self.min.is_some_and(|min| score < min) {
            "BELOW_MIN"
        } else if self.max.is_some_and(|max| score > max) {
            "ABOVE_MAX"
        } else {
            "ACCEPTED"
        }
    }
}

fn refused(why: String) -> Status {
    invalid_argument("item.thresholds", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs() -> Vec<ThresholdSpec> {
        let spec = |name: &str, default_value| ThresholdSpec {
            name: name.to_owned(),
            default_value,
            lowest: -1.0,
            highest: 1.0,
        };
        vec![spec("min", 0.35), spec("max", 0.95)]
    }

    fn resolve(overrides: &[(&str, f64)]) -> Result<Thresholds, String> {
        let overrides = overrides
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect();
        Thresholds::resolve(&specs(), &overrides).map_err(|status| status.message().to_owned())
    }

    #[test]
    fn items_override_defaults_within_the_stated_range() {
        assert_eq!(
            resolve(&[]),
            Ok(Thresholds {
                min: Some(0.35),
                max: Some(0.95)
            })
        );
        assert_eq!(
            resolve(&[("max", 1.0)]),
            Ok(Thresholds {
                min: Some(0.35),
                max: Some(1.0)
            })
        );
        for (overrides, word) in [
            (&[("mean", 0.5)][..], "takes: min, max"),
            (&[("min", 1.01)], "-1 to 1"),
            (&[("min", f64::NAN)], "-1 to 1"),
            (&[("min", 0.96)], "no score"),
        ] {
            let message = resolve(overrides).unwrap_err();
            assert!(
                message.starts_with("item.thresholds: ") && message.contains(word),
                "{message}"
            );
        }
    }

    #[test]
    fn bounds_are_inclusive_and_absent_ones_do_not_apply() {
        let both = Thresholds {
            min: Some(0.35),
            max: Some(0.95),
        };
        assert_eq!(
            [0.34, 0.35, 0.95, 0.96].map(|score| both.reason(score)),
            ["BELOW_MIN", "ACCEPTED", "ACCEPTED", "ABOVE_MAX"]
        );
        assert_eq!(
            Thresholds {
                min: Some(0.22),
                max: None
            }
            .reason(7.0),
            "ACCEPTED"
        );
    }
}
