//! Exact search for near-duplicates by perceptual hash: multi-index hashing (Norouzi, Punjani and Fleet, "Fast exact search in
//! Hamming space with multi-index hashing", 2014).
//!
//! Two hashes within four bits agree on at least one of five bands of bits, so only those that share a band are compared. Each band
//! has a table of its own, whose buckets hold the hashes themselves: a search reads five stretches of memory.

/// Largest Hamming distance of near-duplicates.
pub const MAX_DISTANCE: u32 = 4;
/// A perceptual hash has half of its 64 bits set unless the image is flat; a flat image's says nothing.
const INFORMATIVE_BITS: u32 = 24;

const BANDS: u32 = MAX_DISTANCE + 1;
const BAND_BITS: u32 = u64::BITS.div_ceil(BANDS);
const BUCKETS: usize = 1 << BAND_BITS;

/// Whether a hash tells images apart.
pub(crate) fn is_informative(hash: u64) -> bool {
    hash.count_ones() >= INFORMATIVE_BITS
}

/// Hashes, each with what it belongs to. Hashes of flat images are neither kept nor found.
#[derive(Debug)]
pub struct HashIndex<T> {
    /// [`BUCKETS`] of each band.
    buckets: Vec<Vec<(u64, T)>>,
}

impl<T: Copy> Default for HashIndex<T> {
    fn default() -> Self {
        Self {
            buckets: vec![Vec::new(); BANDS as usize * BUCKETS],
        }
    }
}

impl<T: Copy> HashIndex<T> {
    /// Adds a hash; the same one may be there several times.
    pub fn insert(&mut self, hash: u64, of: T) {
        if is_informative(hash) {
            for band in 0..BANDS {
                self.buckets[bucket(band, hash)].push((hash, of));
            }
        }
    }

    /// Everything within `distance` bits of a hash, each once, in no order. Above [`MAX_DISTANCE`] the search would not be exact, so
    /// that a larger distance counts as that.
    pub fn near(&self, hash: u64, distance: u32) -> impl Iterator<Item = T> + '_ {
        let distance = distance.min(MAX_DISTANCE);
        let bands = if is_informative(hash) { 0..BANDS } else { 0..0 };
        bands.flat_map(move |band| {
            let bucket = self.buckets[bucket(band, hash)].iter();
            bucket.filter_map(move |&(other, of)| {
                let differing = hash ^ other;
                // What agrees on an earlier band as well was found there.
                let first = || (0..band).all(|earlier| bits(earlier, differing) != 0);
                (differing.count_ones() <= distance && first()).then_some(of)
            })
        })
    }

    /// Gives back the room that growing left over.
    pub fn shrink_to_fit(&mut self) {
        self.buckets.iter_mut().for_each(Vec::shrink_to_fit);
    }
}

fn bits(band: u32, hash: u64) -> usize {
    // Below `BUCKETS`.
    ((hash >> (band * BAND_BITS)) as usize) & (BUCKETS - 1)
}

fn bucket(band: u32, hash: u64) -> usize {
    band as usize * BUCKETS + bits(band, hash)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Hashes around a few centres, at distances on both sides of the limit.
    fn hashes() -> impl Strategy<Value = Vec<u64>> {
        let near = |centre: u64| {
            let flips = prop::collection::vec(0..64_u32, 0..7);
            flips.prop_map(move |flips| flips.iter().fold(centre, |hash, bit| hash ^ (1 << bit)))
        };
        prop::collection::vec(any::<u64>(), 1..4).prop_flat_map(move |centres| {
            let centre = prop::sample::select(centres);
            prop::collection::vec(centre.prop_flat_map(near), 1..80)
        })
    }

    proptest! {
        #[test]
        fn it_finds_what_comparing_with_everything_finds(
            hashes in hashes(), distance in 0..=MAX_DISTANCE, query in any::<prop::sample::Index>()
        ) {
            let mut index = HashIndex::default();
            hashes.iter().enumerate().for_each(|(i, &hash)| index.insert(hash, i));
            index.shrink_to_fit();
            let query = *query.get(&hashes);
            let found: Vec<usize> = index.near(query, distance).collect();
            let expected: BTreeSet<usize> = (0..hashes.len())
                .filter(|&i| is_informative(query) && is_informative(hashes[i]))
                .filter(|&i| (hashes[i] ^ query).count_ones() <= distance)
                .collect();
            prop_assert_eq!(found.len(), expected.len());
            prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
        }
    }

    #[test]
    fn flat_images_are_like_nothing() {
        let mut index = HashIndex::default();
        index.insert(0b111, ());
        assert_eq!(index.near(0b111, 4).count(), 0);
    }
}
