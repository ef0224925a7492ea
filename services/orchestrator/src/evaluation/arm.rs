//! The arms of an evaluation: what each trains on and how, beside what all of them share.

use std::fmt;

use crate::{
    recipe::{Loss, Recipe, Sampling, Settings},
    run::RunError,
};

/// What is done for scarce classes without an image more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Correction {
    /// Each image as often as any other.
    None,
    /// The loss weighted by inverse class frequency.
    ClassWeighted,
    /// Classes drawn equally often.
    BalancedSampling,
    /// The logit-adjusted loss with tau 1.
    LogitAdjusted,
}

/// One way to make a training set or to weigh it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Arm {
    /// Real images.
    Real(Correction),
    /// Real images repeated, as many of each class as gated images were accepted.
    DuplicateTail,
    /// What each slot's first attempt gave, whatever the gates said, as many of each class as were accepted.
    Ungated,
    /// Real images and the accepted ones; a correction goes by the classes' sizes with these.
    Gated(Correction),
    /// The accepted images under labels dealt at random among them.
    Placebo,
    /// What would have been accepted without this gate.
    Without(String),
    /// This share of the accepted images of each class.
    Ratio(f64),
    /// The accepted images, each counting this much of a real one.
    Weight(f64),
}

/// The least that the trainer takes as the weight of a synthetic image.
const LEAST_WEIGHT: f64 = 0.01;

/// The arms that are trained where none are named.
const USUAL: [Arm; 8] = [
    Arm::PLAIN,
    Arm::Real(Correction::ClassWeighted),
    Arm::Real(Correction::BalancedSampling),
    Arm::Real(Correction::LogitAdjusted),
    Arm::DuplicateTail,
    Arm::Ungated,
    Arm::GATED,
    Arm::Placebo,
];

/// How many of the accepted images a model needs: quarters of them, and all.
const RATIO_SWEEP: [Arm; 4] = [
    Arm::Ratio(0.25),
    Arm::Ratio(0.5),
    Arm::Ratio(0.75),
    Arm::GATED,
];

/// The arms of a request, each once; the usual ones where it names none.
pub(crate) fn parse(names: &[String], recipe: &Recipe) -> Result<Vec<Arm>, RunError> {
    if names.is_empty() {
        return Ok(USUAL.to_vec());
    }
    let mut arms = Vec::with_capacity(names.len());
    for name in names {
        for arm in named(name, recipe).ok_or_else(|| unknown(name, recipe))? {
            if !arms.contains(&arm) {
                arms.push(arm);
            }
        }
    }
    Ok(arms)
}

/// The arm of a name, or those of a group's name.
fn named(name: &str, recipe: &Recipe) -> Option<Vec<Arm>> {
    match name {
        "usual" => Some(USUAL.to_vec()),
        "gated_corrected" => Some(Correction::ALL.map(Arm::Gated).to_vec()),
        "ratio_sweep" => Some(RATIO_SWEEP.to_vec()),
        "without_each" => Some(without_each(recipe).collect()),
        name => one(name, recipe).map(|arm| vec![arm]),
    }
}

fn without_each(recipe: &Recipe) -> impl Iterator<Item = Arm> {
    recipe
        .gates
        .iter()
        .map(|gate| Arm::Without(gate.name.clone()))
}

/// Those without a number in their names.
fn of_any_recipe() -> impl Iterator<Item = Arm> {
    USUAL.into_iter().chain(Correction::ALL.map(Arm::Gated))
}

fn one(name: &str, recipe: &Recipe) -> Option<Arm> {
    if let Some(arm) = of_any_recipe().find(|arm| arm.to_string() == name) {
        return Some(arm);
    }
    if let Some(gate) = name.strip_prefix("without_") {
        let known = recipe.gates.iter().any(|known| known.name == gate);
        return known.then(|| Arm::Without(gate.to_owned()));
    }
    let (kind, share) = name.split_once('_')?;
    let share: f64 = share.parse().ok()?;
    match kind {
        "ratio" => (share > 0.0 && share < 1.0).then_some(Arm::Ratio(share)),
        "weight" => (LEAST_WEIGHT..1.0)
            .contains(&share)
            .then_some(Arm::Weight(share)),
        _ => None,
    }
}

fn unknown(name: &str, recipe: &Recipe) -> RunError {
    let arms = of_any_recipe().chain(without_each(recipe));
    let known: Vec<String> = arms.map(|arm| arm.to_string()).collect();
    RunError::Invalid {
        field: "arms",
        why: format!(
            "{name:?} is no arm; there are {}, ratio_R with R above 0 and below 1, weight_W with W from {LEAST_WEIGHT} and below 1, and the groups usual, gated_corrected, without_each and ratio_sweep",
            known.join(", ")
        ),
    }
}

impl Correction {
    pub(crate) const ALL: [Self; 3] = [
        Self::ClassWeighted,
        Self::BalancedSampling,
        Self::LogitAdjusted,
    ];

    /// The name of the arm of real images; a suffix in that of the accepted ones.
    fn name(self) -> &'static str {
        match self {
            Self::None => "plain",
            Self::ClassWeighted => "class_weighted",
            Self::BalancedSampling => "balanced_sampling",
            Self::LogitAdjusted => "logit_adjusted",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::None => "real images alone",
            Self::ClassWeighted => "loss weighted by inverse class frequency",
            Self::BalancedSampling => "classes drawn equally often",
            Self::LogitAdjusted => "logit-adjusted loss, tau 1 (Menon et al. 2021)",
        }
    }
}

impl Arm {
    pub(crate) const PLAIN: Self = Self::Real(Correction::None);
    pub(crate) const GATED: Self = Self::Gated(Correction::None);

    fn correction(&self) -> Correction {
        match self {
            Self::Real(correction) | Self::Gated(correction) => *correction,
            _ => Correction::None,
        }
    }

    /// The recipe's settings, with nothing that favours scarce classes but what the arm is there for, and with no early end:
    /// every arm has the same number of steps.
    pub(crate) fn settings(&self, recipe: &Settings, steps: u32) -> Settings {
        let correction = self.correction();
        Settings {
            steps,
            patience: 0,
            sampling: if correction == Correction::BalancedSampling {
                Sampling::Balanced
            } else {
                Sampling::Plain
            },
            oversampling_limit: 0,
            class_weights: correction == Correction::ClassWeighted,
            class_weights_from: 0.0,
            loss: match recipe.loss {
                Loss::Ldam => Loss::CrossEntropy,
                // It goes by how sure the model is, and not by how common a class is.
                loss @ (Loss::CrossEntropy | Loss::Focal) => loss,
            },
            logit_adjustment: if correction == Correction::LogitAdjusted {
                1.0
            } else {
                0.0
            },
            synthetic_weight: match self {
                Self::Weight(weight) => *weight,
                _ => recipe.synthetic_weight,
            },
            ..recipe.clone()
        }
    }

    /// Whether it trains on more than the real train images.
    pub(crate) fn adds_images(&self) -> bool {
        !matches!(self, Self::Real(_))
    }

    /// One line for people.
    pub(crate) fn about(&self) -> String {
        match self {
            Self::Real(correction) => correction.about().into(),
            Self::DuplicateTail => "real images repeated, as many of each class as were accepted".into(),
            Self::Ungated => "first attempt of each slot whatever the gates said, as many of each class as were accepted".into(),
            Self::Gated(Correction::None) => "the accepted images".into(),
            Self::Gated(correction) => format!("the accepted images, {}", correction.about()),
            Self::Placebo => "the accepted images, their labels dealt at random".into(),
            Self::Without(gate) => format!("what would have been accepted without the gate {gate}"),
            Self::Ratio(share) => format!("{:.0} % of the accepted images of each class", share * 100.0),
            Self::Weight(weight) => format!("the accepted images, each counting {weight} of a real one"),
        }
    }
}

/// The name in requests, results and folders.
impl fmt::Display for Arm {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Real(correction) => to.write_str(correction.name()),
            Self::DuplicateTail => to.write_str("duplicate_tail"),
            Self::Ungated => to.write_str("ungated"),
            Self::Gated(Correction::None) => to.write_str("gated"),
            Self::Gated(correction) => write!(to, "gated_{}", correction.name()),
            Self::Placebo => to.write_str("placebo"),
            Self::Without(gate) => write!(to, "without_{gate}"),
            Self::Ratio(share) => write!(to, "ratio_{share}"),
            Self::Weight(weight) => write!(to, "weight_{weight}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Library;

    fn studio() -> Recipe {
        Library::default().recipe("studio").unwrap()
    }

    fn arms(names: &[&str]) -> Result<Vec<Arm>, RunError> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        parse(&names, &studio())
    }

    #[test]
    fn names_lead_back_to_their_arms() {
        assert_eq!(arms(&[]).unwrap(), USUAL);
        let named = arms(&["gated", "without_clip", "ratio_0.25", "weight_0.5", "gated"]).unwrap();
        assert_eq!(
            named,
            [
                Arm::GATED,
                Arm::Without("clip".into()),
                Arm::Ratio(0.25),
                Arm::Weight(0.5)
            ]
        );
        let each = arms(&["without_each"]).unwrap();
        assert_eq!(each.len(), studio().gates.len());
        assert_eq!(arms(&["usual", "plain"]).unwrap(), USUAL);
        assert_eq!(
            arms(&["gated_corrected"]).unwrap(),
            Correction::ALL.map(Arm::Gated)
        );
        let sweep = arms(&["ratio_sweep"]).unwrap();
        let names: Vec<String> = sweep.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["ratio_0.25", "ratio_0.5", "ratio_0.75", "gated"]);
        for arm in of_any_recipe().chain(named).chain(sweep).chain(each) {
            assert_eq!(arms(&[&arm.to_string()]).unwrap(), [arm]);
        }
    }

    #[test]
    fn what_is_no_arm_is_told_from_what_is() {
        for wrong in [
            "gatet",
            "without_smell",
            "ratio_1",
            "ratio_0",
            "ratio_x",
            "ratio_NaN",
            "weight_0",
            "weight_1",
            "weight_",
        ] {
            let said = arms(&[wrong]).unwrap_err().to_string();
            assert!(
                said.contains(wrong)
                    && said.contains("without_vit")
                    && said.contains("and ratio_sweep"),
                "{said}"
            );
        }
    }

    #[test]
    fn arms_differ_in_nothing_but_what_they_are_for() {
        let settings = Settings {
            sampling: Sampling::Balanced,
            patience: 3,
            class_weights: true,
            class_weights_from: 0.8,
            oversampling_limit: 4,
            logit_adjustment: 0.5,
            loss: Loss::Ldam,
            ..studio().training.classifier.settings
        };
        let of = |arm: Arm| arm.settings(&settings, 7);
        let plain = of(Arm::PLAIN);
        let bare = Settings {
            steps: 7,
            patience: 0,
            sampling: Sampling::Plain,
            class_weights: false,
            class_weights_from: 0.0,
            oversampling_limit: 0,
            logit_adjustment: 0.0,
            loss: Loss::CrossEntropy,
            ..settings.clone()
        };
        assert_eq!(plain, bare);
        let focal = Settings {
            loss: Loss::Focal,
            ..settings.clone()
        };
        assert_eq!(Arm::PLAIN.settings(&focal, 7).loss, Loss::Focal);
        assert_eq!(of(Arm::GATED), plain);
        assert_eq!(
            of(Arm::Real(Correction::LogitAdjusted)),
            Settings {
                logit_adjustment: 1.0,
                ..plain.clone()
            }
        );
        assert_eq!(
            of(Arm::Real(Correction::ClassWeighted)),
            Settings {
                class_weights: true,
                ..plain.clone()
            }
        );
        for correction in Correction::ALL {
            let [real, gated] = [Arm::Real(correction), Arm::Gated(correction)];
            assert_eq!(gated.to_string(), format!("gated_{real}"));
            assert_ne!(of(real.clone()), plain, "{real}");
            assert_eq!(of(gated), of(real));
        }
        assert_eq!(
            of(Arm::Weight(0.25)),
            Settings {
                synthetic_weight: 0.25,
                ..plain.clone()
            }
        );
    }
}
