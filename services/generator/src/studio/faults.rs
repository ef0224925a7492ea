//! The faults that the studio plants in its edits, and how often.

use serde::{Deserialize, Serialize};

use super::StudioError;
use super::rng::Rng;

/// What is wrong with an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nothing: a good edit.
    None,
    /// It shows another expression than the target.
    WrongExpression,
    /// It shows another person than the source, in a new exposure.
    OtherIdentity,
    /// It is the source, encoded again.
    Unchanged,
    /// It is a good edit out of focus.
    Blurred,
    /// It shows a second person.
    TwoFaces,
    /// It is the one edit that every near-duplicate of this source and target is, encoded again. The first to be
    /// seen is a good edit; the next ones add nothing.
    NearDuplicate,
}

impl Fault {
    /// Every kind of fault.
    pub const ALL: [Fault; 6] = [
        Fault::WrongExpression,
        Fault::OtherIdentity,
        Fault::Unchanged,
        Fault::Blurred,
        Fault::TwoFaces,
        Fault::NearDuplicate,
    ];
}

/// Share of edits with each fault, each in `[0, 1]`; the rest are good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultRates {
    pub wrong_expression: f32,
    pub other_identity: f32,
    pub unchanged: f32,
    pub blurred: f32,
    pub two_faces: f32,
    pub near_duplicate: f32,
}

impl Default for FaultRates {
    fn default() -> Self {
        Self {
            wrong_expression: 0.08,
            other_identity: 0.06,
            unchanged: 0.04,
            blurred: 0.04,
            two_faces: 0.03,
            near_duplicate: 0.04,
        }
    }
}

impl FaultRates {
    /// No faults at all.
    pub fn none() -> Self {
        Self {
            wrong_expression: 0.0,
            other_identity: 0.0,
            unchanged: 0.0,
            blurred: 0.0,
            two_faces: 0.0,
            near_duplicate: 0.0,
        }
    }

    /// One fault in every edit.
    pub fn always(fault: Fault) -> Self {
        let mut rates = Self::none();
        match fault {
            Fault::None => {}
            Fault::WrongExpression => rates.wrong_expression = 1.0,
            Fault::OtherIdentity => rates.other_identity = 1.0,
            Fault::Unchanged => rates.unchanged = 1.0,
            Fault::Blurred => rates.blurred = 1.0,
            Fault::TwoFaces => rates.two_faces = 1.0,
            Fault::NearDuplicate => rates.near_duplicate = 1.0,
        }
        rates
    }

    /// Refuses rates that are no shares.
    pub fn validate(&self) -> Result<(), StudioError> {
        let rates = self.shares().map(|(_, share)| share);
        let sound = rates.iter().all(|rate| (0.0..=1.0).contains(rate))
            && rates.iter().sum::<f32>() <= 1.0 + 1e-5;
        if sound {
            Ok(())
        } else {
            Err(StudioError::Rates(format!("{rates:?}")))
        }
    }

    /// The fault of the edit with this seed.
    pub fn choose(&self, seed: u64) -> Fault {
        let mut left = Rng::new(seed, "fault").unit();
        for (fault, share) in self.shares() {
            left -= share;
            if left < 0.0 {
                return fault;
            }
        }
        Fault::None
    }

    fn shares(&self) -> [(Fault, f32); 6] {
        [
            (Fault::WrongExpression, self.wrong_expression),
            (Fault::OtherIdentity, self.other_identity),
            (Fault::Unchanged, self.unchanged),
            (Fault::Blurred, self.blurred),
            (Fault::TwoFaces, self.two_faces),
            (Fault::NearDuplicate, self.near_duplicate),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_occur_at_their_rates() {
        let rates = FaultRates::default();
        for (fault, share) in rates.shares() {
            let seen = (0..20_000)
                .filter(|&seed| rates.choose(seed) == fault)
                .count() as f32
                / 20_000.0;
            assert!((seen - share).abs() < 0.006, "{fault:?}: {seen}");
            assert_eq!(FaultRates::always(fault).choose(1), fault);
        }
        assert_eq!(FaultRates::none().choose(1), Fault::None);
    }

    #[test]
    fn rates_that_are_no_shares_are_refused() {
        assert!(FaultRates::default().validate().is_ok());
        assert!(
            FaultRates {
                blurred: -0.1,
                ..FaultRates::none()
            }
            .validate()
            .is_err()
        );
        assert!(
            FaultRates {
                blurred: f32::NAN,
                ..FaultRates::none()
            }
            .validate()
            .is_err()
        );
        assert!(
            FaultRates {
                blurred: 0.6,
                unchanged: 0.6,
                ..FaultRates::none()
            }
            .validate()
            .is_err()
        );
    }
}
