//! Divides a data set into train, val, calibration and golden: pure, deterministic by seed, stratified by class.
//!
//! Images that must stay together form a group: the same subject, the same bytes, or the same class and nearly the same
//! perceptual hash. A group lies on one side as a whole. Each side has a quota of every class. Classes are served from
//! the scarcest up, and within a class the smallest groups, those of a size in random order. Golden takes its quota first:
//! thirty images of one person prove little more than one does, so it goes to as many people as it can. Each other group goes
//! to the side furthest behind its share; then what room is left is filled from train. A group joins a side only where it
//! leaves each of its classes an image in train and exceeds no quota: never one of golden, by a quarter at most one of val or
//! calibration, unless one of these would stay empty. With groups of one image all are met exactly.

mod division;
mod groups;
mod policy;

use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;

use division::Division;
pub use policy::Policy;

/// A side of the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    Train,
    Val,
    Calibration,
    Golden,
}

impl Side {
    /// The word in the database and in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Calibration => "calibration",
            Self::Golden => "golden",
        }
    }
}

/// One image, as far as dividing needs it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Index of the class.
    pub label: usize,
    /// Empty where unknown.
    pub subject: String,
    pub blake3: String,
    pub phash: u64,
}

/// The side of each sample, in the order of `samples`.
pub fn split(samples: &[Sample], policy: &Policy) -> Vec<Side> {
    let mut groups = groups::groups(samples);
    groups.shuffle(&mut ChaCha8Rng::seed_from_u64(policy.seed));
    groups.sort_by_key(Vec::len);
    let mut division = Division::new(samples, &groups, policy);
    // A class is topped up before commoner ones take the room that its groups need.
    for class in division.classes() {
        division.seal(class);
        division.share_out(class);
        division.top_up(class);
    }
    [Side::Val, Side::Calibration]
        .into_iter()
        .for_each(|side| division.fill_if_empty(side));
    let mut sides = vec![Side::Train; samples.len()];
    for (group, &side) in groups.iter().zip(&division.sides) {
        group.iter().for_each(|&i| sides[i] = side);
    }
    sides
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = Policy {
        golden_per_class: 150,
        golden_fraction: 0.3,
        val_fraction: 0.2,
        calibration_fraction: 0.1,
        seed: 7,
    };

    /// A sample like no other.
    fn single(i: usize, label: usize) -> Sample {
        Sample {
            label,
            subject: String::new(),
            blake3: format!("{i}"),
            phash: 0,
        }
    }

    fn count(samples: &[Sample], sides: &[Side], label: usize, side: Side) -> usize {
        samples
            .iter()
            .zip(sides)
            .filter(|(s, x)| s.label == label && **x == side)
            .count()
    }

    #[test]
    fn groups_of_one_meet_their_quotas_exactly() {
        let samples: Vec<_> = (0..1000)
            .map(|i| single(i, usize::from(i >= 900)))
            .collect();
        let sides = split(&samples, &POLICY);
        let counts = |label| {
            [Side::Train, Side::Val, Side::Calibration, Side::Golden]
                .map(|s| count(&samples, &sides, label, s))
        };
        assert_eq!(counts(0), [525, 150, 75, 150]);
        assert_eq!(counts(1), [49, 14, 7, 30]);
    }

    #[test]
    fn a_class_of_one_image_stays_in_train() {
        let policy = Policy {
            golden_fraction: 0.9,
            val_fraction: 0.5,
            calibration_fraction: 0.5,
            ..POLICY
        };
        assert_eq!(split(&[single(0, 0)], &policy), [Side::Train]);
        let two = split(&[single(0, 0), single(1, 0)], &policy);
        assert_eq!(two.iter().filter(|s| **s == Side::Golden).count(), 1);
        assert_eq!(two.iter().filter(|s| **s == Side::Train).count(), 1);
    }

    #[test]
    fn near_duplicates_of_a_class_stay_together_and_flat_images_do_not_count() {
        let hash = 0x0f0f_0f0f_0f0f_0f0f_u64;
        let near = |i, phash| Sample {
            phash,
            ..single(i, 0)
        };
        let samples = [
            near(0, hash),
            near(1, hash ^ 0b1111),
            near(2, hash ^ 0b11111 << 20),
            near(3, 1),
            near(4, 1),
        ];
        assert_eq!(
            groups::groups(&samples),
            [vec![0, 1], vec![2], vec![3], vec![4]]
        );
    }

    #[test]
    fn the_golden_set_shows_as_many_people_as_it_can() {
        // Ten people with ten images each, thirty with one.
        let of = |person: usize, images: usize| (0..images).map(move |_| person);
        let people = (0..10)
            .flat_map(|person| of(person, 10))
            .chain(10..40)
            .enumerate();
        let samples: Vec<_> = people
            .map(|(i, person)| Sample {
                subject: person.to_string(),
                ..single(i, 0)
            })
            .collect();
        let sides = split(&samples, &POLICY);
        let golden: HashSet<_> = samples
            .iter()
            .zip(&sides)
            .filter(|(_, side)| **side == Side::Golden)
            .map(|(sample, _)| &sample.subject)
            .collect();
        // 39 of 130 images: nine are left when everybody with one image is in, and nobody has nine.
        assert_eq!(golden.len(), 30);
        assert_eq!(count(&samples, &sides, 0, Side::Golden), 30);
    }

    #[test]
    fn a_side_that_no_group_fits_gets_the_smallest() {
        // Four people of three, four, five and six images; val's quota is two of them, golden's five.
        let samples: Vec<_> = [3, 4, 5, 6]
            .into_iter()
            .enumerate()
            .flat_map(|(person, images)| (0..images).map(move |_| person))
            .enumerate()
            .map(|(i, person)| Sample {
                subject: format!("p{person}"),
                ..single(i, 0)
            })
            .collect();
        let policy = Policy {
            val_fraction: 0.15,
            calibration_fraction: 0.0,
            ..POLICY
        };
        let sides = split(&samples, &policy);
        let counts = [Side::Golden, Side::Val, Side::Calibration, Side::Train]
            .map(|side| count(&samples, &sides, 0, side));
        assert_eq!(counts, [3, 4, 0, 11]);
    }

    #[test]
    fn the_seed_decides() {
        let samples: Vec<_> = (0..100).map(|i| single(i, 0)).collect();
        assert_eq!(split(&samples, &POLICY), split(&samples, &POLICY));
        assert_ne!(
            split(&samples, &POLICY),
            split(&samples, &Policy { seed: 8, ..POLICY })
        );
    }

    fn samples() -> impl Strategy<Value = Vec<Sample>> {
        let sample = (0usize..4, 0u32..40, 0u32..200, any::<u64>()).prop_map(
            |(label, subject, bytes, phash)| {
                let subject = if subject < 10 {
                    String::new()
                } else {
                    subject.to_string()
                };
                Sample {
                    label,
                    subject,
                    blake3: bytes.to_string(),
                    phash,
                }
            },
        );
        prop::collection::vec(sample, 0..200)
    }

    fn policy() -> impl Strategy<Value = Policy> {
        (0u32..20, 0.0..=0.9, 0.0..=0.5, 0.0..=0.5, any::<u64>()).prop_map(
            |(per_class, golden, val, cal, seed)| Policy {
                golden_per_class: per_class,
                golden_fraction: golden,
                val_fraction: val,
                calibration_fraction: cal,
                seed,
            },
        )
    }

    proptest! {
        #[test]
        fn any_division_keeps_the_rules(samples in samples(), policy in policy()) {
            let sides = split(&samples, &policy);
            prop_assert_eq!(sides.len(), samples.len());
            let mut seen: HashMap<(u8, &str), Side> = HashMap::new();
            for (sample, &side) in samples.iter().zip(&sides) {
                prop_assert_eq!(*seen.entry((0, &sample.blake3)).or_insert(side), side);
                if !sample.subject.is_empty() {
                    prop_assert_eq!(*seen.entry((1, &sample.subject)).or_insert(side), side);
                }
            }
            for label in samples.iter().map(|s| s.label).collect::<HashSet<_>>() {
                let total = samples.iter().filter(|s| s.label == label).count();
                let golden = count(&samples, &sides, label, Side::Golden);
                prop_assert!(golden <= policy.golden_per_class as usize);
                prop_assert!(golden as f64 <= policy.golden_fraction * total as f64 + 1e-6);
                prop_assert!(count(&samples, &sides, label, Side::Train) >= 1);
            }
        }
    }
}
