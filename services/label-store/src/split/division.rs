//! A division under way: which group lies on which side, and what room each side has left.

use std::collections::BTreeMap;

use super::{Policy, Sample, Side};

/// A division under way.
pub(super) struct Division {
    /// Images of each class in each group.
    counts: Vec<BTreeMap<usize, u32>>,
    pub(super) sides: Vec<Side>,
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
    pub(super) fn new(samples: &[Sample], groups: &[Vec<usize>], policy: &Policy) -> Self {
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
    pub(super) fn classes(&self) -> Vec<usize> {
        let mut classes: Vec<usize> = (0..self.train.len()).collect();
        classes.sort_by_key(|&class| (self.quota[&Side::Golden][class], self.train[class], class));
        classes
    }

    /// Gives golden its groups with this class.
    pub(super) fn seal(&mut self, class: usize) {
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
    pub(super) fn share_out(&mut self, class: usize) {
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
    pub(super) fn top_up(&mut self, class: usize) {
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
    pub(super) fn fill_if_empty(&mut self, side: Side) {
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
