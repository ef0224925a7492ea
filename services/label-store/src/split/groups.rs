//! Which images must stay together: the same subject, the same bytes, or the same class and nearly the same look.

use std::collections::{BTreeMap, HashMap};

use super::Sample;

/// Largest Hamming distance of the perceptual hashes of near-duplicates.
const NEAR_DUPLICATE: u32 = 4;
/// A perceptual hash has half of its 64 bits set unless the image is flat; a flat image's says nothing.
const INFORMATIVE_BITS: u32 = 24;

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
    join_near_duplicates(samples, &mut union);
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    (0..samples.len()).for_each(|i| groups.entry(union.find(i)).or_default().push(i));
    groups.into_values().collect()
}

/// Two hashes within 4 bits agree on at least one of five bands of bits, so only those that share a band are compared.
fn join_near_duplicates(samples: &[Sample], union: &mut UnionFind) {
    const BANDS: u32 = NEAR_DUPLICATE + 1;
    const BITS: u32 = u64::BITS.div_ceil(BANDS);
    let mut buckets: HashMap<(usize, u32, u64), Vec<usize>> = HashMap::new();
    for (i, sample) in samples
        .iter()
        .enumerate()
        .filter(|(_, s)| s.phash.count_ones() >= INFORMATIVE_BITS)
    {
        for band in 0..BANDS {
            let bits = (sample.phash >> (band * BITS)) & ((1 << BITS) - 1);
            let bucket = buckets.entry((sample.label, band, bits)).or_default();
            for &other in bucket.iter() {
                if (samples[other].phash ^ sample.phash).count_ones() <= NEAR_DUPLICATE {
                    union.join(i, other);
                }
            }
            bucket.push(i);
        }
    }
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
