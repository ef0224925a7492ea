//! The eight expressions as intensities of FACS action units (Ekman, Friesen and Hager, "Facial Action Coding
//! System", 2002; prototypes after EMFACS), with the natural variation that makes neighbouring expressions overlap.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::StudioError;
use super::rng::Rng;

/// The expression classes, in the order of AffectNet's labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    Neutral,
    Happy,
    Sad,
    Surprise,
    Fear,
    Disgust,
    Anger,
    Contempt,
}

impl Label {
    /// Every class, in AffectNet's order.
    pub const ALL: [Label; 8] = [
        Label::Neutral,
        Label::Happy,
        Label::Sad,
        Label::Surprise,
        Label::Fear,
        Label::Disgust,
        Label::Anger,
        Label::Contempt,
    ];

    /// The name used in paths and labels, for example `fear`.
    pub fn name(self) -> &'static str {
        match self {
            Label::Neutral => "neutral",
            Label::Happy => "happy",
            Label::Sad => "sad",
            Label::Surprise => "surprise",
            Label::Fear => "fear",
            Label::Disgust => "disgust",
            Label::Anger => "anger",
            Label::Contempt => "contempt",
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Label {
    type Err = StudioError;

    fn from_str(name: &str) -> Result<Self, StudioError> {
        Label::ALL
            .into_iter()
            .find(|label| label.name() == name)
            .ok_or_else(|| StudioError::UnknownLabel(name.to_owned()))
    }
}

/// The action units the renderer knows; the numbers are those of FACS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    InnerBrowRaiser1,
    OuterBrowRaiser2,
    BrowLowerer4,
    UpperLidRaiser5,
    CheekRaiser6,
    LidTightener7,
    NoseWrinkler9,
    UpperLipRaiser10,
    LipCornerPuller12,
    Dimpler14,
    LipCornerDepressor15,
    ChinRaiser17,
    LipStretcher20,
    LipTightener23,
    LipsPart25,
    JawDrop26,
}

const UNITS: usize = 16;

/// Which half of the picture, not of the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

/// One face's action units, each in `[0, 1]` for each side.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    /// What the face is meant to show.
    pub label: Label,
    /// Seed of the variation.
    pub seed: u64,
    units: [[f32; 2]; UNITS],
}

impl Expression {
    /// One natural instance of an expression.
    pub fn sample(label: Label, seed: u64) -> Self {
        let mut rng = Rng::new(seed, "expression");
        let mut expression = Self {
            label,
            seed,
            units: [[0.0; 2]; UNITS],
        };
        expression.prototype(&mut rng);
        expression.vary(&mut rng);
        expression
    }

    /// Intensity of a unit on one side.
    pub fn on(&self, unit: Unit, side: Side) -> f32 {
        self.units[unit as usize][side as usize]
    }

    /// Mean intensity of both sides.
    pub fn of(&self, unit: Unit) -> f32 {
        0.5 * (self.on(unit, Side::Left) + self.on(unit, Side::Right))
    }

    /// Draws intensities from the prototype of the label, scaled by one strength for the whole face.
    fn prototype(&mut self, rng: &mut Rng) {
        let strength = rng.range(0.55, 1.0);
        for &(unit, low, high, share) in prototype_of(self.label) {
            let present = rng.chance(share);
            let intensity = rng.range(low, high) * strength;
            if present {
                self.units[unit as usize] = [intensity; 2];
            }
        }
        if self.label == Label::Contempt {
            let quiet = rng.below(2);
            for unit in [Unit::Dimpler14, Unit::LipCornerPuller12] {
                self.units[unit as usize][quiet] *= 0.1;
            }
            // A brow often follows the raised corner.
            self.units[Unit::OuterBrowRaiser2 as usize][quiet] = 0.0;
        }
    }

    /// Adds what no two faces share: slight activity of every unit and slight asymmetry.
    fn vary(&mut self, rng: &mut Rng) {
        for (index, sides) in self.units.iter_mut().enumerate() {
            // An open jaw or parted lips read as an expression sooner than other residual activity.
            let residue = if index >= Unit::LipsPart25 as usize {
                0.06
            } else {
                0.13
            };
            let shared = rng.unit().powi(2) * residue;
            for side in sides {
                *side = ((*side + shared) * rng.normal(1.0, 0.08)).clamp(0.0, 1.0);
            }
        }
    }
}

/// Action units of a label: unit, lowest and highest intensity, share of faces that show it.
fn prototype_of(label: Label) -> &'static [(Unit, f32, f32, f32)] {
    use Unit::{
        BrowLowerer4, CheekRaiser6, ChinRaiser17, Dimpler14, InnerBrowRaiser1, JawDrop26,
        LidTightener7, LipCornerDepressor15, LipCornerPuller12, LipStretcher20, LipTightener23,
        LipsPart25, NoseWrinkler9, OuterBrowRaiser2, UpperLidRaiser5, UpperLipRaiser10,
    };
    match label {
        Label::Neutral => &[(LipsPart25, 0.0, 0.3, 0.15), (BrowLowerer4, 0.0, 0.2, 0.3)],
        Label::Happy => &[
            (CheekRaiser6, 0.3, 1.0, 0.9),
            (LipCornerPuller12, 0.55, 1.0, 1.0),
            (LipsPart25, 0.4, 1.0, 0.7),
            (JawDrop26, 0.1, 0.4, 0.3),
        ],
        Label::Sad => &[
            (InnerBrowRaiser1, 0.6, 1.0, 1.0),
            (BrowLowerer4, 0.2, 0.6, 0.8),
            (LidTightener7, 0.1, 0.5, 0.5),
            (LipCornerDepressor15, 0.5, 1.0, 1.0),
            (ChinRaiser17, 0.3, 0.9, 0.6),
        ],
        Label::Surprise => &[
            (InnerBrowRaiser1, 0.6, 1.0, 1.0),
            (OuterBrowRaiser2, 0.6, 1.0, 1.0),
            (UpperLidRaiser5, 0.4, 1.0, 0.9),
            (LipsPart25, 0.5, 1.0, 1.0),
            (JawDrop26, 0.4, 1.0, 0.95),
        ],
        Label::Fear => &[
            (InnerBrowRaiser1, 0.6, 1.0, 1.0),
            (OuterBrowRaiser2, 0.3, 0.7, 0.8),
            (BrowLowerer4, 0.5, 0.9, 0.95),
            (UpperLidRaiser5, 0.6, 1.0, 1.0),
            (LidTightener7, 0.2, 0.5, 0.6),
            (LipStretcher20, 0.5, 1.0, 0.95),
            (LipsPart25, 0.4, 1.0, 0.85),
            (JawDrop26, 0.1, 0.4, 0.4),
        ],
        Label::Disgust => &[
            (BrowLowerer4, 0.2, 0.7, 0.8),
            (LidTightener7, 0.3, 0.8, 0.8),
            (CheekRaiser6, 0.1, 0.5, 0.5),
            (NoseWrinkler9, 0.6, 1.0, 1.0),
            (UpperLipRaiser10, 0.5, 1.0, 0.95),
            (LipCornerDepressor15, 0.1, 0.5, 0.4),
            (ChinRaiser17, 0.2, 0.6, 0.4),
            (LipsPart25, 0.2, 0.7, 0.4),
        ],
        Label::Anger => &[
            (BrowLowerer4, 0.7, 1.0, 1.0),
            (UpperLidRaiser5, 0.3, 0.7, 0.7),
            (LidTightener7, 0.4, 0.9, 0.9),
            (LipTightener23, 0.6, 1.0, 0.95),
            (ChinRaiser17, 0.2, 0.6, 0.5),
            (LipsPart25, 0.3, 0.8, 0.2),
            (UpperLipRaiser10, 0.1, 0.4, 0.2),
        ],
        Label::Contempt => &[
            (Dimpler14, 0.65, 1.0, 1.0),
            (LipCornerPuller12, 0.35, 0.75, 0.95),
            (OuterBrowRaiser2, 0.2, 0.7, 0.5),
            (LidTightener7, 0.1, 0.4, 0.5),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for label in Label::ALL {
            assert_eq!(label.name().parse::<Label>().unwrap(), label);
        }
        assert!(
            matches!("smug".parse::<Label>(), Err(StudioError::UnknownLabel(name)) if name == "smug")
        );
    }

    #[test]
    fn intensities_stay_in_range_and_vary() {
        for seed in 0..200 {
            for label in Label::ALL {
                let expression = Expression::sample(label, seed);
                assert!(
                    expression
                        .units
                        .iter()
                        .flatten()
                        .all(|value| (0.0..=1.0).contains(value))
                );
                assert_ne!(
                    expression.units,
                    Expression::sample(label, seed + 1000).units
                );
            }
        }
    }

    #[test]
    fn contempt_is_one_sided_and_happiness_is_not() {
        for seed in 0..200 {
            let imbalance = |label| {
                let face = Expression::sample(label, seed);
                (face.on(Unit::LipCornerPuller12, Side::Left)
                    - face.on(Unit::LipCornerPuller12, Side::Right))
                .abs()
                    + (face.on(Unit::Dimpler14, Side::Left) - face.on(Unit::Dimpler14, Side::Right))
                        .abs()
            };
            assert!(imbalance(Label::Contempt) > 0.2);
            assert!(imbalance(Label::Contempt) > imbalance(Label::Happy));
        }
    }
}
