//! Divides a data set into train, val, calibration and golden: pure, deterministic by seed, stratified by class.
//!
//! Images that must stay together form a group: the same subject, the same bytes, or the same class and nearly the same
//! perceptual hash. A group lies on one side as a whole. Each side has a quota of every class. Classes are served from
//! the scarcest up, and within a class the smallest groups, those of a size in random order. Golden takes its quota first:
//! thirty images of one person prove little more than one does, so it goes to as many people as it can. Each other group goes
//! to the side furthest behind its share; then what room is left is filled from train. A group joins a side only where it
//! leaves each of its classes an image in train and exceeds no quota: never one of golden, by a quarter at most one of val or
//! calibration, unless one of these would stay empty. With groups of one image all are met exactly.

mod groups;

use std::collections::BTreeMap;

use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

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

/// How to divide; see `saga.labelstore.v1.SplitPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Golden images of a class, at most.
    pub golden_per_class: u32,
    /// Golden share of a class, at most; 0 to 0.9.
    pub golden_fraction: f64,
    /// Share of what golden leaves, 0 to 0.5.
    pub val_fraction: f64,
    /// Share of what golden leaves, 0 to 0.5.
    pub calibration_fraction: f64,
    pub seed: u64,
}

impl Policy {
    /// Says which field is out of range.
    pub fn check(&self) -> Result<(), StoreError> {
        for (field, value, highest) in [
            ("policy.golden_fraction", self.golden_fraction, 0.9),
            ("policy.val_fraction", self.val_fraction, 0.5),
            (
                "policy.calibration_fraction",
                self.calibration_fraction,
                0.5,
            ),
        ] {
            if !(0.0..=highest).contains(&value) {
                return Err(StoreError::invalid(
                    field,
                    format!("{value} is not within 0 to {highest}"),
                ));
            }
        }
        Ok(())
    }

    /// Images of each class that a side may have, from the size of each class; train's is what the others leave.
    fn quotas(&self, side: Side, totals: &[u32]) -> Vec<i64> {
        totals
            .iter()
            .map(|&total| i64::from(self.quota(side, total)))
            .collect()
    }

    fn quota(&self, side: Side, total: u32) -> u32 {
        let share = |fraction: f64, rest: u32| (fraction * f64::from(rest)).round() as u32;
        // In range: the fractions are checked and `total` is a u32.
        let golden = (self.golden_fraction * f64::from(total) + 1e-9).floor() as u32;
        let golden = golden.min(self.golden_per_class);
        let rest = total - golden;
        let (val, calibration) = (
            share(self.val_fraction, rest),
            share(self.calibration_fraction, rest),
        );
        match side {
            Side::Golden => golden,
            Side::Val => val,
            Side::Calibration => calibration,
            Side::Train => rest.saturating_sub(val + calibration),
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

/// A division under way.
struct Division {
    /// Images of each class in each group.
    counts: Vec<BTreeMap<usize, u32>>,
    sides: Vec<Side>,
    /// Groups that were shared out already, for a scarcer class of theirs.
    settled: Vec<bool>,
    /// Images of each class that train would keep if nothing more were moved.
    train: Vec<u32>,
    /// What each side may have of each class, and what it may still take; train's share is no bound.
    quota: BTreeMap<Side, Vec<i64>>,
    room: BTreeMap<Side, Vec<i64>>,
}

/// The sides with bounds, the most important one first.
const BOUNDED: [Side; 3] = [Side::Golden, Side::Val, Side::Calibration];

impl Division {
    fn new(samples: &[Sample], groups: &[Vec<usize>], policy: &Policy) -> Self {
        let classes = samples.iter().map(|s| s.label + 1).max().unwrap_or(0);
        let mut train = vec![0; classes];
        samples.iter().for_each(|s| train[s.label] += 1);
        let count = |group: &Vec<usize>| {
            let mut counts = BTreeMap::new();
            group
                .iter()
                .for_each(|&i| *counts.entry(samples[i].label).or_insert(0) += 1);
            counts
        };
        let quota: BTreeMap<_, Vec<i64>> =
            [Side::Golden, Side::Val, Side::Calibration, Side::Train]
                .map(|s| (s, policy.quotas(s, &train)))
                .into();
        Self {
            counts: groups.iter().map(count).collect(),
            sides: vec![Side::Train; groups.len()],
            settled: vec![false; groups.len()],
            train,
            room: quota.clone(),
            quota,
        }
    }

    /// The classes, the scarcest first.
    fn classes(&self) -> Vec<usize> {
        let mut classes: Vec<usize> = (0..self.train.len()).collect();
        classes.sort_by_key(|&class| (self.quota[&Side::Golden][class], self.train[class], class));
        classes
    }

    /// Gives golden its groups with this class.
    fn seal(&mut self, class: usize) {
        for group in 0..self.counts.len() {
            if self.awaits(group, class) && self.fits(group, Side::Golden, class) {
                self.settled[group] = true;
                self.take(group, Side::Golden);
            }
        }
    }

    /// Whether a group with this class has no side yet.
    fn awaits(&self, group: usize, class: usize) -> bool {
        !self.settled[group] && self.counts[group].contains_key(&class)
    }

    /// Gives each other group with this class to the side that is furthest behind its share, so that where whole groups
    /// cannot meet all quotas every side gets some of what there is.
    fn share_out(&mut self, class: usize) {
        for group in 0..self.counts.len() {
            if !self.awaits(group, class) {
                continue;
            }
            self.settled[group] = true;
            let mut best = Side::Train;
            // Of equals the more important side wins: it comes last.
            for side in [Side::Calibration, Side::Val]
                .into_iter()
                .filter(|side| self.fits(group, *side, class))
            {
                if self.behind(side, class) >= self.behind(best, class) {
                    best = side;
                }
            }
            self.take(group, best);
        }
    }

    /// Moves groups with this class out of train where a side still has room.
    fn top_up(&mut self, class: usize) {
        for side in BOUNDED {
            for group in 0..self.counts.len() {
                let wanted = self.room[&side][class] > 0 && self.counts[group].contains_key(&class);
                if wanted && self.sides[group] == Side::Train && self.fits(group, side, class) {
                    self.take(group, side);
                }
            }
        }
    }

    /// Gives the smallest group to a side that was to have images and got none, since no group fitted: where there are few
    /// groups, exceeding a quota is the lesser evil.
    fn fill_if_empty(&mut self, side: Side) {
        let wanted = self.quota[&side].iter().any(|&quota| quota > 0);
        if !wanted || self.sides.contains(&side) {
            return;
        }
        let spared = |group: &usize| {
            self.sides[*group] == Side::Train
                && self.counts[*group].iter().all(|(&c, &n)| n < self.train[c])
        };
        if let Some(group) = (0..self.counts.len()).find(spared) {
            self.take(group, side);
        }
    }

    /// How much of its share of a class a side still lacks, 0 to 1.
    fn behind(&self, side: Side, class: usize) -> f64 {
        self.room[&side][class] as f64 / self.quota[&side][class].max(1) as f64
    }

    /// Whether a group may join a side for the sake of `class`. Golden's quotas are never exceeded; those of val and
    /// calibration a little, in the group's other classes, for else one scarce class shuts out another.
    fn fits(&self, group: usize, side: Side, class: usize) -> bool {
        self.counts[group].iter().all(|(&c, &n)| {
            let slack = if side == Side::Golden || c == class {
                0
            } else {
                (self.quota[&side][c] / 4).max(1)
            };
            n < self.train[c] && i64::from(n) <= self.room[&side][c] + slack
        })
    }

    fn take(&mut self, group: usize, side: Side) {
        self.sides[group] = side;
        for (&class, &n) in &self.counts[group] {
            if let Some(room) = self.room.get_mut(&side) {
                room[class] -= i64::from(n);
            }
            if side != Side::Train {
                self.train[class] -= n;
            }
        }
    }
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
