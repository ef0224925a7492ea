//! Which images join an arm's training set, and under which label. What is left to chance follows the training's seed, so that
//! the interval over seeds knows it.

use std::collections::BTreeSet;

use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use saga_proto::labelstore::v1::ExtraImage;

use super::{
    arm::Arm,
    pool::{Made, Pool},
};

/// An image and its class.
type Labelled = (String, usize);

/// Images beyond the train split, in a fixed order. `passed`: candidates rejected by the arm's gate that every other gate
/// accepts; read by [`Arm::Without`] alone.
pub(crate) fn extra(
    arm: &Arm,
    pool: &Pool,
    passed: &BTreeSet<String>,
    classes: &[String],
    seed: u64,
) -> Vec<ExtraImage> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let wanted = pool.accepted_by_class();
    let accepted = || pool.accepted().map(labelled).collect::<Vec<_>>();
    let chosen = match arm {
        Arm::Real(_) => Vec::new(),
        Arm::DuplicateTail => repeated(pool, &wanted, &mut random),
        Arm::Ungated => {
            let first = pool.first_of_each_slot(|_| true).map(labelled).collect();
            at_most(first, &wanted, &mut random)
        }
        Arm::Gated(_) | Arm::Weight(_) => accepted(),
        Arm::Placebo => relabelled(accepted(), &mut random),
        Arm::Without(_) => pool
            .first_of_each_slot(|made| made.admitted || passed.contains(&made.id))
            .map(labelled)
            .collect(),
        Arm::Ratio(share) => {
            let part = |count: &usize| (*count as f64 * share).round() as usize;
            let wanted: Vec<usize> = wanted.iter().map(part).collect();
            at_most(accepted(), &wanted, &mut random)
        }
    };
    let label = |(image_id, class): Labelled| {
        Some(ExtraImage {
            image_id,
            label: classes.get(class)?.clone(),
        })
    };
    chosen.into_iter().filter_map(label).collect()
}

fn labelled(made: &Made) -> Labelled {
    (made.id.clone(), made.class)
}

/// `wanted` real images of each class, none twice more often than another.
fn repeated(pool: &Pool, wanted: &[usize], random: &mut ChaCha8Rng) -> Vec<Labelled> {
    let mut chosen = Vec::new();
    for (class, (real, wanted)) in pool.real.iter().zip(wanted).enumerate() {
        let mut deck = real.clone();
        deck.shuffle(random);
        chosen.extend(deck.into_iter().cycle().take(*wanted).map(|id| (id, class)));
    }
    chosen
}

/// At most `wanted` of each class, drawn at random. A larger share of the same seed holds all of a smaller one.
fn at_most(mut images: Vec<Labelled>, wanted: &[usize], random: &mut ChaCha8Rng) -> Vec<Labelled> {
    images.shuffle(random);
    let mut left = wanted.to_vec();
    images.retain(|(_, class)| match left.get_mut(*class) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    });
    images
}

/// The same images and the same number of each label, dealt anew.
fn relabelled(images: Vec<Labelled>, random: &mut ChaCha8Rng) -> Vec<Labelled> {
    let (ids, mut labels): (Vec<_>, Vec<_>) = images.into_iter().unzip();
    labels.shuffle(random);
    ids.into_iter().zip(labels).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Two classes: 5 and 2 real images; 4 slots of class 1, the first of them accepted at the second attempt, the last never.
    fn pool() -> Pool {
        let made = |id: &str, admitted| Made {
            id: id.into(),
            class: 1,
            admitted,
        };
        Pool {
            real: vec![
                (0..5).map(|i| format!("a{i}")).collect(),
                (0..2).map(|i| format!("b{i}")).collect(),
            ],
            slots: BTreeMap::from([
                ("s0".into(), vec![made("s0-0", false), made("s0-1", true)]),
                ("s1".into(), vec![made("s1-0", true)]),
                ("s2".into(), vec![made("s2-0", false), made("s2-1", true)]),
                ("s3".into(), vec![made("s3-0", false), made("s3-1", false)]),
            ]),
        }
    }

    fn ids(arm: &Arm, passed: &[&str], seed: u64) -> Vec<(String, String)> {
        let passed = passed.iter().map(|&id| id.to_owned()).collect();
        let classes = ["a".to_owned(), "b".to_owned()];
        let chosen = extra(arm, &pool(), &passed, &classes, seed);
        chosen
            .into_iter()
            .map(|image| (image.image_id, image.label))
            .collect()
    }

    fn sorted(mut of: Vec<(String, String)>) -> Vec<String> {
        of.sort();
        of.into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn accepted_images_are_those_and_no_others() {
        assert_eq!(sorted(ids(&Arm::GATED, &[], 1)), ["s0-1", "s1-0", "s2-1"]);
        assert!(ids(&Arm::PLAIN, &[], 1).is_empty());
    }

    #[test]
    fn controls_have_as_many_images_of_each_class() {
        let repeated = sorted(ids(&Arm::DuplicateTail, &[], 1));
        assert_eq!(repeated.len(), 3);
        assert!(repeated.contains(&"b0".into()) && repeated.contains(&"b1".into()));
        let ungated = sorted(ids(&Arm::Ungated, &[], 1));
        assert_eq!(ungated.len(), 3);
        assert!(ungated.iter().all(|id| id.ends_with("-0")), "{ungated:?}");
    }

    #[test]
    fn without_a_gate_a_slot_ends_at_the_first_image_that_the_others_accept() {
        let found = sorted(ids(&Arm::Without("vit".into()), &["s0-0", "s3-1"], 1));
        assert_eq!(found, ["s0-0", "s1-0", "s2-1", "s3-1"]);
    }

    #[test]
    fn a_placebo_keeps_images_and_labels_but_not_their_pairs() {
        let mut pool = pool();
        for (i, slot) in pool.slots.values_mut().enumerate() {
            slot.iter_mut().for_each(|made| made.class = i % 2);
        }
        let classes = ["a".to_owned(), "b".to_owned()];
        let of = |arm: &Arm, seed| extra(arm, &pool, &BTreeSet::new(), &classes, seed);
        let gated = of(&Arm::GATED, 0);
        let dealt: Vec<_> = (0..20).map(|seed| of(&Arm::Placebo, seed)).collect();
        let labels = |of: &[ExtraImage]| {
            let mut labels: Vec<_> = of.iter().map(|image| image.label.clone()).collect();
            labels.sort();
            labels
        };
        assert!(dealt.iter().all(|dealt| labels(dealt) == labels(&gated)));
        assert!(dealt.iter().any(|dealt| *dealt != gated));
    }

    #[test]
    fn a_larger_ratio_holds_the_smaller_one() {
        for seed in 0..10 {
            let small = ids(&Arm::Ratio(0.34), &[], seed);
            let large = ids(&Arm::Ratio(0.67), &[], seed);
            assert_eq!((small.len(), large.len()), (1, 2));
            assert!(large.contains(&small[0]));
        }
    }
}
