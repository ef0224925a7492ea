//! Which images must stay together: the same subject, the same bytes, or the same class and nearly the same look.

use std::collections::{BTreeMap, HashMap};

use super::Sample;
use crate::duplicates::{HashIndex, MAX_DISTANCE};

/// Indices of the samples that must stay together, in the order of their first member.
pub(super) fn groups(samples: &[Sample]) -> Vec<Vec<usize>> {
    let mut union = UnionFind::new(samples.len());
    let mut first: HashMap<(u8, &str), usize> = HashMap::new();
    for (i, sample) in samples.iter().enumerate() {
        union.join(i, *first.entry((0, &sample.blake3)).or_insert(i));
        if !sample.subject.is_empty() {
            union.join(i, *first.entry((1, &sample.subject)).or_insert(i));
        }
    }
    let mut index = HashIndex::default();
    for (i, sample) in samples.iter().enumerate() {
        index
            .near(sample.phash, MAX_DISTANCE)
            .filter(|&other: &usize| samples[other].label == sample.label)
            .for_each(|other| union.join(i, other));
        index.insert(sample.phash, i);
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    (0..samples.len()).for_each(|i| groups.entry(union.find(i)).or_default().push(i));
    groups.into_values().collect()
}

/// Disjoint sets; the representative of a set is its smallest member.
struct UnionFind(Vec<usize>);

impl UnionFind {
    fn new(len: usize) -> Self {
        Self((0..len).collect())
    }

    fn find(&mut self, mut i: usize) -> usize {
        while self.0[i] != i {
            self.0[i] = self.0[self.0[i]];
            i = self.0[i];
        }
        i
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b)] = a.min(b);
    }
}
