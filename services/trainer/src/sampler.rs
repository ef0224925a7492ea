//! Which training image comes next: an endless stream of indexes, plain or balanced over the classes.
//!
//! Images are dealt from shuffled decks, without replacement until a deck is empty, so that no image is left out while
//! another comes twice. Plain sampling has one deck of all images; balanced sampling one a class and a deck of classes.

use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How often each image is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Every image once an epoch.
    Plain,
    /// Every class equally often; the images of a small class repeat.
    Balanced,
}

/// Endless stream of image indexes; the same seed gives the same stream.
#[derive(Debug)]
pub struct Sampler {
    classes: Deck,
    images: Vec<Deck>,
    random: ChaCha8Rng,
}

impl Sampler {
    /// A stream over images with these class indexes. Ends at once where there are no images. Where `limit` is above 0,
    /// images come on average no more often than that in as many draws as there are images, at the cost of the balance.
    pub fn new(labels: &[u32], sampling: Sampling, limit: u32, seed: u64) -> Self {
        let decks = match sampling {
            Sampling::Plain => vec![(0..labels.len()).collect()],
            Sampling::Balanced => by_class(labels),
        };
        let images: Vec<Deck> = decks
            .into_iter()
            .filter(|deck| !deck.is_empty())
            .map(Deck::new)
            .collect();
        let classes = match (sampling, limit) {
            (Sampling::Balanced, 1..) => shares(&images, labels.len(), limit as usize),
            _ => (0..images.len()).collect(),
        };
        Self {
            classes: Deck::new(classes),
            images,
            random: ChaCha8Rng::seed_from_u64(seed),
        }
    }
}

impl Iterator for Sampler {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let class = self.classes.deal(&mut self.random)?;
        self.images.get_mut(class)?.deal(&mut self.random)
    }
}

/// Each class's number, as often as it is dealt in `draws` draws: equally often, but no image of it more than `limit` times;
/// what a small class cannot take goes to the larger ones.
fn shares(images: &[Deck], draws: usize, limit: usize) -> Vec<usize> {
    let mut smallest_first: Vec<usize> = (0..images.len()).collect();
    smallest_first.sort_by_key(|&class| images.get(class).map(|deck| deck.cards.len()));
    let mut left = draws;
    let mut classes = Vec::with_capacity(draws);
    for (done, &class) in smallest_first.iter().enumerate() {
        let most = images.get(class).map_or(0, |deck| deck.cards.len()) * limit;
        let share = left.div_ceil(smallest_first.len() - done).min(most);
        classes.extend(std::iter::repeat_n(class, share));
        left -= share;
    }
    classes
}

/// Indexes of the images of each class.
fn by_class(labels: &[u32]) -> Vec<Vec<usize>> {
    let classes = labels.iter().max().map_or(0, |&last| last as usize + 1);
    let mut decks = vec![Vec::new(); classes];
    for (image, &label) in labels.iter().enumerate() {
        decks[label as usize].push(image);
    }
    decks
}

/// Cards dealt in random order and shuffled again when all are dealt.
#[derive(Debug)]
struct Deck {
    cards: Vec<usize>,
    dealt: usize,
}

impl Deck {
    fn new(cards: Vec<usize>) -> Self {
        Self {
            dealt: cards.len(),
            cards,
        }
    }

    fn deal(&mut self, random: &mut ChaCha8Rng) -> Option<usize> {
        if self.dealt == self.cards.len() {
            self.cards.shuffle(random);
            self.dealt = 0;
        }
        let card = self.cards.get(self.dealt).copied();
        self.dealt += 1;
        card
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn plain_epochs_hold_every_image_once(labels in prop::collection::vec(0u32..5, 1..60), seed: u64) {
            let mut stream = Sampler::new(&labels, Sampling::Plain, 0, seed);
            for _ in 0..3 {
                let mut epoch: Vec<usize> = stream.by_ref().take(labels.len()).collect();
                epoch.sort_unstable();
                prop_assert_eq!(epoch, (0..labels.len()).collect::<Vec<_>>());
            }
        }

        #[test]
        fn balanced_classes_differ_by_one_at_most(
            labels in prop::collection::vec(0u32..5, 1..60), seed: u64, draws in 1usize..200,
        ) {
            let mut counts = std::collections::BTreeMap::<u32, usize>::new();
            labels.iter().for_each(|&label| { counts.insert(label, 0); });
            for image in Sampler::new(&labels, Sampling::Balanced, 0, seed).take(draws) {
                *counts.entry(labels[image]).or_default() += 1;
            }
            let most = counts.values().max().copied().unwrap_or(0);
            let least = counts.values().min().copied().unwrap_or(0);
            prop_assert!(most - least <= 1, "{counts:?}");
        }

        #[test]
        fn a_limit_holds_for_every_image_and_spends_every_draw(
            labels in prop::collection::vec(0u32..5, 1..60), seed: u64, limit in 1u32..6,
        ) {
            let mut times = vec![0u32; labels.len()];
            for image in Sampler::new(&labels, Sampling::Balanced, limit, seed).take(labels.len()) {
                times[image] += 1;
            }
            prop_assert_eq!(times.iter().sum::<u32>() as usize, labels.len());
            prop_assert!(times.iter().all(|&times| times <= limit), "{:?}", times);
        }
    }

    #[test]
    fn balanced_images_of_a_class_repeat_only_after_all_were_dealt() {
        let labels = [0, 0, 0, 0, 1, 1];
        let stream: Vec<usize> = Sampler::new(&labels, Sampling::Balanced, 0, 3)
            .take(8)
            .collect();
        let mut first: Vec<usize> = stream
            .into_iter()
            .filter(|&image| labels[image] == 0)
            .collect();
        first.sort_unstable();
        assert_eq!(first, [0, 1, 2, 3]);
    }

    #[test]
    fn a_limit_leaves_a_small_class_smaller() {
        let labels: Vec<u32> = (0..30).map(|image| u32::from(image >= 28)).collect();
        let stream = Sampler::new(&labels, Sampling::Balanced, 3, 1).take(30);
        let tail = stream.filter(|&image| labels[image] == 1).count();
        assert_eq!(tail, 6, "two images, three times each, instead of 15 draws");
    }

    #[test]
    fn seed_decides_the_order() {
        let labels = [0, 1, 2, 0, 1, 2, 0, 1];
        let order = |seed| {
            Sampler::new(&labels, Sampling::Plain, 0, seed)
                .take(16)
                .collect::<Vec<_>>()
        };
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
    }

    #[test]
    fn nothing_to_sample_ends_the_stream() {
        assert_eq!(Sampler::new(&[], Sampling::Plain, 0, 0).next(), None);
        assert_eq!(Sampler::new(&[], Sampling::Balanced, 0, 0).next(), None);
    }
}
