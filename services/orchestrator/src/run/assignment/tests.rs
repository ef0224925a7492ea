//! Plans worked off against arms of known acceptance and cost: what a bandit saves, and what it must not lose.

use std::collections::{BTreeMap, HashMap, VecDeque};

use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::{
    metrics::Confusion,
    plan::{PlanInput, PlannedSlot, Tally, make},
    recipe::{Allocation, Cap, PlanPolicy},
};

const CLASSES: [&str; 4] = ["neutral", "happy", "sad", "fear"];
/// Train images of each.
const IMAGES: [usize; 4] = [160, 60, 50, 40];
const IN_FLIGHT: usize = 8;

/// Acceptance of an arm: some sources are far from a target, one text is clearer, one backend better.
fn rate(arm: &Arm) -> f64 {
    let place = |label: &str| CLASSES.iter().position(|class| *class == label).unwrap();
    let source = [0.15, 0.45, 0.8][(place(&arm.source) + 2 * place(&arm.target)) % 3];
    let text = if arm.text.starts_with("clear") {
        1.0
    } else {
        0.6
    };
    let backend = match arm.backend.as_str() {
        "careful" => 1.0,
        "quick" => 0.7,
        _ => 0.0,
    };
    source * text * backend
}

fn backend(name: &str, cost_usd: f64) -> Backend {
    Backend {
        name: name.into(),
        cost_usd,
        ..Backend::default()
    }
}

fn prompts() -> Prompts {
    let texts = |label: &&str| {
        let texts = vec![format!("clear {label}"), format!("vague {label}")];
        ((*label).to_owned(), texts)
    };
    Prompts {
        template: "{label}".into(),
        styles: vec!["sharp".into(), "soft".into()],
        axes: BTreeMap::new(),
        texts: CLASSES.iter().map(texts).collect(),
    }
}

fn policy(allocation: Allocation) -> PlanPolicy {
    PlanPolicy {
        max_synthetic_fraction: 0.7,
        cap: Cap::Largest,
        allocation,
        tries_per_source: 10,
        sources_per_slot: 3,
        stop_after_rejections: 1_000,
        in_flight: IN_FLIGHT as u32,
        max_phash_distance: None,
    }
}

/// A slot as the store keeps it.
struct Kept {
    plan: PlannedSlot,
    attempt: u32,
    used: HashMap<String, u32>,
    settled: Option<usize>,
}

/// What became of a plan.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    planned: BTreeMap<String, u32>,
    accepted: BTreeMap<String, u32>,
    attempts: u32,
    cost_usd: f64,
}

impl Outcome {
    fn per_dollar(&self) -> f64 {
        f64::from(self.accepted.values().sum::<u32>()) / self.cost_usd
    }
}

struct World {
    policy: PlanPolicy,
    seed: u64,
    backends: Vec<Backend>,
    /// Open slots in the order of leasing; those in flight are left out of it.
    open: BTreeMap<(u32, usize), Kept>,
    settled: Vec<(Arm, Tally)>,
    chosen: HashMap<(u32, usize, u32), Assignment>,
}

impl World {
    fn new(allocation: Allocation, backends: &[Backend], seed: u64) -> Self {
        let classes = CLASSES.map(str::to_owned);
        let train: Vec<Vec<String>> = (0..CLASSES.len())
            .map(|class| (0..IMAGES[class]).map(|n| format!("{class}/{n}")).collect())
            .collect();
        let policy = policy(allocation);
        let plan = make(&PlanInput {
            classes: &classes,
            train: &train,
            validation: &Confusion::new(CLASSES.len()),
            policy: &policy,
            seed,
            limit: None,
        });
        let keep = |plan: PlannedSlot| {
            let kept = Kept {
                attempt: 0,
                used: HashMap::new(),
                settled: None,
                plan,
            };
            ((kept.plan.ordinal, kept.plan.target), kept)
        };
        Self {
            open: plan.slots.into_iter().map(keep).collect(),
            policy,
            seed,
            backends: backends.to_vec(),
            settled: Vec::new(),
            chosen: HashMap::new(),
        }
    }

    /// Leases the next slot and chooses for it. What was chosen for the attempt before must be chosen again.
    fn lease(&mut self) -> Option<(Kept, Assignment)> {
        let ((ordinal, target), mut kept) = self.open.pop_first()?;
        let settled = *kept.settled.get_or_insert(self.settled.len());
        let source = |id: &String| SlotSource {
            label: CLASSES[id[..1].parse::<usize>().unwrap()].into(),
            image_id: id.clone(),
        };
        let left = |id: &&String| kept.used.get(*id) < Some(&self.policy.tries_per_source);
        let sources: Vec<SlotSource> = kept.plan.sources.iter().filter(left).map(source).collect();
        let slot = Slot {
            target_label: CLASSES[target].into(),
            ordinal,
            attempt: kept.attempt,
            source_image_id: sources[0].image_id.clone(),
            source_label: sources[0].label.clone(),
            sources,
            ..Slot::default()
        };
        let assignment = if self.policy.allocation == Allocation::Bandit {
            let mut tallies = ByArm::new();
            for (arm, tally) in &self.settled[..settled] {
                tallies.entry(arm.clone()).or_default().add(*tally);
            }
            let seed = self.seed
                ^ (u64::from(ordinal) << 32 | (target as u64) << 16)
                ^ u64::from(kept.attempt);
            let late = self.policy.is_late(kept.attempt);
            drawn(slot, &prompts(), &self.backends, &tallies, seed, late)
        } else {
            in_turn(slot, &prompts(), &self.backends)
        };
        let assignment = assignment.unwrap();
        let before = self.chosen.entry((ordinal, target, kept.attempt));
        assert_eq!(*before.or_insert(assignment.clone()), assignment);
        Some((kept, assignment))
    }

    /// Ends an attempt; whether it was accepted.
    fn settle(&mut self, mut kept: Kept, made: &Assignment, luck: f64) -> bool {
        let arm = Arm {
            source: made.slot.source_label.clone(),
            target: made.slot.target_label.clone(),
            text: made.text.clone(),
            backend: made.backend.name.clone(),
        };
        assert_ne!(arm.source, arm.target);
        let accepted = luck < rate(&arm);
        let tally = Tally {
            attempts: 1,
            accepted: accepted.into(),
            cost_usd: made.backend.cost_usd,
        };
        self.settled.push((arm, tally));
        let sources = kept.plan.sources.len() as u32;
        (kept.attempt, kept.settled) = (kept.attempt + 1, None);
        *kept
            .used
            .entry(made.slot.source_image_id.clone())
            .or_default() += 1;
        if !accepted && kept.attempt < sources * self.policy.tries_per_source {
            self.open
                .insert((kept.plan.ordinal, kept.plan.target), kept);
        }
        accepted
    }

    /// Works off the plan; every so many settlements all that is in flight is lost and leased again.
    fn run(mut self, lost_after: usize) -> Outcome {
        let mut outcome = Outcome::default();
        for (_, target) in self.open.keys() {
            *outcome.planned.entry(CLASSES[*target].into()).or_default() += 1;
        }
        let mut luck = rand_chacha::ChaCha8Rng::seed_from_u64(self.seed);
        let mut flight: VecDeque<(Kept, Assignment)> = VecDeque::new();
        loop {
            while flight.len() < IN_FLIGHT {
                let Some(leased) = self.lease() else { break };
                flight.push_back(leased);
            }
            let Some((kept, made)) = flight.pop_front() else {
                return outcome;
            };
            outcome.attempts += 1;
            outcome.cost_usd += made.backend.cost_usd;
            if self.settle(kept, &made, luck.random()) {
                *outcome.accepted.entry(made.slot.target_label).or_default() += 1;
            }
            if self.settled.len().is_multiple_of(lost_after) {
                let lost = flight.drain(..).map(|(kept, _)| kept);
                self.open
                    .extend(lost.map(|kept| ((kept.plan.ordinal, kept.plan.target), kept)));
            }
        }
    }
}

fn work(allocation: Allocation, backends: &[Backend], seed: u64) -> Outcome {
    World::new(allocation, backends, seed).run(usize::MAX)
}

/// Accepted per dollar of the bandit, in those of `balance`; smallest of some seeds.
fn gain(backends: &[Backend]) -> f64 {
    let gains = (0..5).map(|seed| {
        let [bandit, balance] = [Allocation::Bandit, Allocation::Balance]
            .map(|allocation| work(allocation, backends, seed));
        assert_eq!(bandit.accepted, bandit.planned, "every need is met");
        assert_eq!(balance.planned, bandit.planned);
        println!(
            "seed {seed}: {:.1} accepted per dollar of {} attempts, in turn {:.1} of {}",
            bandit.per_dollar(),
            bandit.attempts,
            balance.per_dollar(),
            balance.attempts
        );
        bandit.per_dollar() / balance.per_dollar()
    });
    gains.fold(f64::INFINITY, f64::min)
}

#[test]
fn a_bandit_gets_more_accepted_for_a_dollar_where_arms_differ_in_acceptance_and_price() {
    let gain = gain(&[backend("careful", 0.04), backend("quick", 0.01)]);
    assert!(gain > 3.0, "{gain}");
}

#[test]
fn a_bandit_gets_more_accepted_for_a_dollar_where_all_cost_the_same() {
    let gain = gain(&[backend("careful", 0.04)]);
    assert!(gain > 1.6, "{gain}");
}

#[test]
fn needs_are_met_even_where_what_is_cheap_never_delivers() {
    let backends = [backend("careful", 0.04), backend("broken", 0.0)];
    let outcome = work(Allocation::Bandit, &backends, 1);
    assert_eq!(outcome.accepted, outcome.planned);
}

#[test]
fn an_attempt_that_was_lost_is_chosen_again_as_it_was() {
    // `World::lease` compares.
    let backends = [backend("careful", 0.04), backend("quick", 0.0)];
    let world = World::new(Allocation::Bandit, &backends, 3);
    let outcome = world.run(5);
    assert_eq!(outcome.accepted, outcome.planned);
}

#[test]
fn in_turn_backends_change_first_then_texts_then_styles() {
    let slot = |ordinal| Slot {
        target_label: "sad".into(),
        ordinal,
        ..Slot::default()
    };
    let backends = [backend("careful", 0.0), backend("quick", 0.0)];
    let made = (0..5).map(|ordinal| {
        let made = in_turn(slot(ordinal), &prompts(), &backends).unwrap();
        format!("{}: {}", made.backend.name, made.prompt)
    });
    let expected = [
        "careful: clear sad, sharp",
        "quick: clear sad, sharp",
        "careful: vague sad, sharp",
        "quick: vague sad, sharp",
        "careful: clear sad, soft",
    ];
    assert_eq!(made.collect::<Vec<_>>(), expected);
    assert_eq!(in_turn(slot(0), &prompts(), &[]), None);
}
