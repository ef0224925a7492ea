//! Properties of plans.

use proptest::prelude::*;

use super::*;
use crate::recipe::{Allocation, Cap};

fn policy(fraction: f64, allocation: Allocation) -> PlanPolicy {
    PlanPolicy {
        max_synthetic_fraction: fraction,
        cap: Cap::Largest,
        allocation,
        tries_per_source: 2,
        sources_per_slot: 3,
        stop_after_rejections: 10,
        in_flight: 4,
        max_phash_distance: Some(4),
        max_clip_cosine: None,
    }
}

fn train(counts: &[u32]) -> Vec<Vec<String>> {
    counts
        .iter()
        .enumerate()
        .map(|(class, count)| {
            (0..*count)
                .map(|image| format!("{class}/{image}"))
                .collect()
        })
        .collect()
}

fn classes(count: usize) -> Vec<String> {
    (0..count).map(|class| format!("class{class}")).collect()
}

fn plan(
    counts: &[u32],
    validation: &Confusion,
    policy: &PlanPolicy,
    seed: u64,
    limit: Option<u32>,
) -> Plan {
    let (classes, train) = (classes(counts.len()), train(counts));
    make(&PlanInput {
        classes: &classes,
        train: &train,
        validation,
        policy,
        seed,
        limit,
    })
}

#[test]
fn ten_images_at_sixty_percent_allow_fifteen_more() {
    let needs = needs(&[10, 100], &policy(0.6, Allocation::Balance));
    assert_eq!(needs[0], ClassNeed { real: 10, cap: 25 });
    assert_eq!(needs[1].need(), 0);
}

#[test]
fn a_total_gives_each_class_its_share_rounded_up_less_what_is_there() {
    let policy = PlanPolicy {
        cap: Cap::Total(83_000),
        ..policy(0.9, Allocation::Balance)
    };
    let needs = needs(
        &[12_000, 10_376, 4_000, 3, 10_000, 9_000, 9_000, 9_000],
        &policy,
    );
    let need: Vec<u32> = needs.iter().map(ClassNeed::need).collect();
    // 83,000 / 8 = 10,375; of a class of three no more than 27 are synthetic at a share of 0.9.
    assert_eq!(need, [0, 0, 6_375, 27, 375, 1_375, 1_375, 1_375]);
}

#[test]
fn sources_come_from_the_classes_that_are_confused_with_the_target() {
    let mut validation = Confusion::new(3);
    (0..8).for_each(|_| validation.add(1, 0));
    (0..2).for_each(|_| validation.add(1, 1));
    (0..10).for_each(|_| validation.add(2, 2));
    let plan = plan(
        &[10, 100, 100],
        &validation,
        &policy(0.6, Allocation::Confusion),
        1,
        None,
    );
    let firsts: Vec<_> = plan
        .slots
        .iter()
        .filter(|slot| slot.target == 0)
        .map(|slot| slot.sources[0].as_str())
        .collect();
    let confused = firsts.iter().filter(|id| id.starts_with("1/")).count();
    assert!(confused * 10 > firsts.len() * 8, "{firsts:?}");
}

#[test]
fn test_mode_spreads_its_slots_and_starts_with_the_worst_class() {
    let mut validation = Confusion::new(4);
    [(0, 0), (1, 0), (2, 2), (3, 3), (3, 0)]
        .into_iter()
        .for_each(|(truth, predicted)| validation.add(truth, predicted));
    let plan = plan(
        &[100, 20, 20, 20],
        &validation,
        &policy(0.6, Allocation::Balance),
        1,
        Some(TEST_MODE_SLOTS),
    );
    let planned: Vec<_> = plan.classes.iter().map(|class| class.planned).collect();
    assert_eq!(planned, [0, 7, 6, 7]);
    assert_eq!(plan.slots.len(), 20);
}

#[test]
fn a_single_class_with_images_has_nothing_to_edit_from() {
    let plan = plan(
        &[5, 0],
        &Confusion::new(2),
        &policy(0.6, Allocation::Balance),
        1,
        None,
    );
    assert!(plan.slots.is_empty());
}

#[test]
fn the_table_has_a_line_for_each_class() {
    let table = plan(
        &[5, 9],
        &Confusion::new(2),
        &policy(0.6, Allocation::Balance),
        1,
        None,
    )
    .table();
    assert_eq!(table.lines().count(), 3);
    assert!(table.contains("class0") && table.contains('-'));
}

proptest! {
    #[test]
    fn plans_keep_their_promises(
        counts in prop::collection::vec(0u32..60, 2..6),
        mistakes in prop::collection::vec((0usize..6, 0usize..6), 0..40),
        fraction in 0.0f64..0.95,
        allocation in prop::sample::select(vec![Allocation::Balance, Allocation::Confusion, Allocation::Bandit]),
        total in prop::option::of(1u32..400),
        seed in any::<u64>(),
        limit in prop::option::of(0u32..30),
    ) {
        let mut validation = Confusion::new(counts.len());
        for (truth, predicted) in mistakes {
            validation.add(truth % counts.len(), predicted % counts.len());
        }
        let policy = PlanPolicy { cap: total.map_or(Cap::Largest, Cap::Total), ..policy(fraction, allocation) };
        let made = plan(&counts, &validation, &policy, seed, limit);
        prop_assert_eq!(&made, &plan(&counts, &validation, &policy, seed, limit));
        let most = policy.class_size(counts.len()).unwrap_or(*counts.iter().max().unwrap());
        for (class, row) in made.classes.iter().enumerate() {
            prop_assert!(row.real + row.planned <= most.max(row.real));
            let share = f64::from(row.planned) / f64::from((row.real + row.planned).max(1));
            prop_assert!(share <= fraction + 1e-6);
            prop_assert_eq!(made.slots.iter().filter(|slot| slot.target == class).count(), row.planned as usize);
            if row.real >= most {
                prop_assert_eq!(row.planned, 0);
            }
        }
        prop_assert!(limit.is_none_or(|limit| made.slots.len() <= limit as usize));
        for slot in &made.slots {
            prop_assert!(!slot.sources.is_empty() && slot.sources.len() <= 3);
            let own = format!("{}/", slot.target);
            prop_assert!(slot.sources.iter().all(|id| !id.starts_with(&own)));
            let mut unique = slot.sources.clone();
            unique.sort();
            unique.dedup();
            prop_assert_eq!(unique.len(), slot.sources.len());
        }
    }

    #[test]
    fn no_source_comes_again_before_every_other_had_its_turn(
        counts in prop::collection::vec(1u32..12, 2..5),
        seed in any::<u64>(),
    ) {
        let train = train(&counts);
        let balance = Allocation::Balance;
        let weights = weights(&counts, &Confusion::new(counts.len()), balance);
        let total: u32 = counts[1..].iter().sum();
        let mut round = Sources::new(&train, &weights[0], 0, seed, balance).take(total as usize);
        // The same images under the ids that they have in another folder, with another order of their own.
        let moved = |id: &String| blake3::hash(id.as_bytes()).to_hex().to_string();
        let elsewhere: Vec<Vec<String>> =
            train.iter().map(|ids| ids.iter().map(moved).collect()).collect();
        let same = Sources::new(&elsewhere, &weights[0], 0, seed, balance).take(total as usize);
        prop_assert_eq!(round.iter().map(moved).collect::<Vec<_>>(), same);
        round.sort();
        round.dedup();
        prop_assert_eq!(round.len(), total as usize);
    }

    #[test]
    fn a_bandit_is_offered_every_source_class_in_every_slot(
        counts in prop::collection::vec(1u32..12, 4),
        seed in any::<u64>(),
    ) {
        let policy = policy(0.9, Allocation::Bandit);
        let plan = plan(&counts, &Confusion::new(4), &policy, seed, None);
        for slot in &plan.slots {
            let mut classes: Vec<&str> = slot.sources.iter().map(|id| &id[..1]).collect();
            classes.sort_unstable();
            classes.dedup();
            prop_assert_eq!(classes.len(), 3);
        }
    }
}
