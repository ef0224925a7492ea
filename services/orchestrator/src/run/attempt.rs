//! One attempt at a slot: generator, then guard, then settlement. One trace, from its root to the label store.

mod later;
mod settlement;

use std::{fmt::Display, sync::Arc};

use saga_client::Priority;
use saga_proto::{
    generator::v1::{Backend, Budget, Candidate, CandidateSpec, GenerateRequest, Outcome},
    guard::v1 as guard,
    labelstore::v1::Slot,
    r#type::v1::Image,
};
use tokio::sync::oneshot;
use tracing::{Instrument as _, Span, field::Empty};

use super::{
    RunContext, RunError,
    assignment::{self, Assignment},
    diffusion, embed,
    ended::{Ended, Made, not_now, rejection},
    images::Images,
    models::{self, InUse},
    normalise::normalise,
    pauses::Pauses,
    tallies::Tallies,
};
use crate::recipe::Allocation;

/// What attempts share.
#[derive(Debug)]
pub(super) struct Attempts {
    /// The run.
    pub(super) context: Arc<RunContext>,
    /// Sources and exemplars.
    pub(super) images: Arc<Images>,
    /// Ids of the real train images by class.
    pub(super) train: Vec<Vec<String>>,
    /// The run's backends.
    pub(super) backends: Vec<Backend>,
    /// What the arms came to so far.
    pub(super) tallies: Tallies,
    /// What candidates are made and judged with.
    pub(super) models: InUse,
    /// Backends that cannot be asked now.
    pub(super) pauses: Pauses,
}

impl Attempts {
    /// Makes and judges one candidate, and settles it; where there is a `turn`, not before it.
    ///
    /// # Errors
    /// Only where the label store cannot count or settle; everything else is settled as an error of this attempt.
    pub(super) async fn run(
        self: Arc<Self>,
        slot: Slot,
        turn: Option<oneshot::Receiver<()>>,
    ) -> Result<Ended, RunError> {
        let run = Span::current();
        let span = tracing::info_span!(
            parent: None,
            "candidate",
            run_id = self.context.run_id,
            slot_id = slot.slot_id,
            attempt = slot.attempt,
            target = slot.target_label,
            candidate_id = Empty,
            outcome = Empty,
        );
        span.follows_from(run);
        async move {
            let task = self.assign(slot).await?;
            let made = self.make_in_time(&task).await;
            if let Some(turn) = turn {
                self.keep(&made).await;
                // A flight that is over gives no turns, and ends its attempts.
                _ = turn.await;
            }
            match made {
                Ok(made) => self.settle(&task, made).await,
                Err(Ended::Later(later)) => self.put_off(&task.slot, later).await,
                Err(not_made) => Ok(not_made),
            }
        }
        .instrument(span)
        .await
    }

    /// Chooses source, text and backend as the recipe's allocation says.
    async fn assign(&self, slot: Slot) -> Result<Assignment, RunError> {
        let recipe = &self.context.recipe;
        let assigned = match recipe.plan.allocation {
            Allocation::Balance | Allocation::Confusion => {
                assignment::in_turn(slot, &recipe.prompts, &self.backends)
            }
            Allocation::Bandit => {
                let tallies = self.tallies.of_first(&self.context, slot.settled).await?;
                let (seed, late) = (self.seed(&slot), recipe.plan.is_late(slot.attempt));
                let mut backends = self.backends.clone();
                backends.retain(|backend| !slot.paused_backends.contains(&backend.name));
                assignment::drawn(slot, &recipe.prompts, &backends, &tallies, seed, late)
            }
        };
        assigned.ok_or_else(|| RunError::Data("a slot has no source to start from".into()))
    }

    /// What [`make`](Self::make) says, unless the backend rests, or an error before the lease runs out.
    async fn make_in_time(&self, task: &Assignment) -> Result<Made, Ended> {
        if let Some(later) = self.rests(task) {
            return Err(Ended::Later(later));
        }
        let limit = self.context.config.run.lease().mul_f64(0.9);
        let made = tokio::time::timeout(limit, self.make(task)).await;
        let made = made.unwrap_or_else(|_| {
            Ok(Made::error(
                Candidate::default(),
                format!("no verdict within {} s", limit.as_secs()),
            ))
        });
        if let Err(Ended::Later(later)) = &made {
            self.pauses.pause(&task.backend.name, later.pause());
        }
        made
    }

    /// The candidate with the guard's word on it; else how an attempt ended that is not made now.
    async fn make(&self, task: &Assignment) -> Result<Made, Ended> {
        let candidate = match self.ask(task).await {
            Ok(candidate) => candidate,
            Err(error) => {
                return match not_now(&error) {
                    Some(ended) => Err(ended),
                    None => Ok(Made::error(Candidate::default(), error.to_string())),
                };
            }
        };
        if candidate.outcome() != Outcome::Image || candidate.image.is_none() {
            return Ok(Made {
                rejected_by: rejection(candidate.outcome()),
                candidate,
                ..Made::default()
            });
        }
        Ok(self.judge(&task.slot, candidate).await)
    }

    /// The generator's answer. One that was started again has lost the run's model: it gets it and is asked once more.
    async fn ask(&self, task: &Assignment) -> Result<Candidate, RunError> {
        match self.generate(task).await {
            Err(RunError::Remote(error)) if models::is_lost(&error.status) => {
                self.load_again(&error.status).await?;
                self.generate(task).await
            }
            answer => answer,
        }
    }

    /// The guard's answer, with models that gates may have lost, as [`ask`](Self::ask).
    async fn check(&self, question: &guard::Candidate) -> Result<guard::Decision, RunError> {
        // Work in bulk: whoever else asks the gates goes first.
        let check = || self.context.guard.check(question, Priority::Low);
        match check().await {
            Err(error) if error.status().is_some_and(models::is_lost) => {
                self.load_again(&error).await?;
                Ok(check().await?)
            }
            answer => Ok(answer?),
        }
    }

    async fn load_again(&self, why: &impl Display) -> Result<(), RunError> {
        tracing::info!(run_id = self.context.run_id, %why, "a service that was started again gets the run's models");
        self.models.load(&self.context).await
    }

    /// The guard's word on a candidate.
    async fn judge(&self, slot: &Slot, candidate: Candidate) -> Made {
        let source = match self.images.get(&slot.source_image_id).await {
            Ok(source) => source,
            Err(error) => return Made::error(candidate, error.to_string()),
        };
        let question = guard::Candidate {
            candidate_id: candidate.candidate_id.clone(),
            candidate: candidate.image.clone(),
            source: Some(source),
            target_label: slot.target_label.clone(),
            recipe: String::new(),
        };
        let decision = match self.check(&question).await {
            Ok(decision) => decision,
            Err(error) => return Made::error(candidate, error.to_string()),
        };
        let made = Made {
            rejected_by: decision.rejected_by.clone(),
            decision,
            ..Made::default()
        };
        if self.context.recipe.plan.max_clip_cosine.is_none() || !made.accepted() {
            return Made { candidate, ..made };
        }
        match embed::embedding(&self.context, candidate.image.clone()).await {
            Ok(embedding) => Made {
                candidate,
                embedding,
                ..made
            },
            Err(error) => Made::error(candidate, error.to_string()),
        }
    }

    /// The generator's answer; the candidate's id is final.
    async fn generate(&self, task: &Assignment) -> Result<Candidate, RunError> {
        let slot = &task.slot;
        let (settings, generator) = self.context.backend(&task.backend.name)?;
        let spec = CandidateSpec {
            candidate_id: hex(&self.hash(slot, b"request")),
            backend: task.backend.name.clone(),
            source: Some(self.images.get(&slot.source_image_id).await?),
            source_label: slot.source_label.clone(),
            target_label: slot.target_label.clone(),
            prompt: task.prompt.clone(),
            seed: self.seed(slot),
            exemplars: self.exemplars(task).await?,
            parameters: (settings.parameters.clone().into_iter())
                .chain(diffusion::parameter(&task.backend.name))
                .collect(),
            budget: Some(Budget {
                id: self.context.run_id.clone(),
                max_cost_usd: self.context.max_cost_usd,
            }),
        };
        let request = GenerateRequest { spec: Some(spec) };
        let call = generator.call(request, |mut generator, request| async move {
            generator.generate(request).await
        });
        let mut candidate = call
            .instrument(tracing::info_span!("generate"))
            .await?
            .candidate
            .unwrap_or_default();
        if let Some(wanted) = self.context.recipe.normalisation
            && let Some(image) = candidate.image.take()
        {
            match normalise(image, wanted).await {
                Ok(image) => candidate.image = Some(image),
                // Without an image, but with its cost.
                Err(error) => {
                    candidate.set_outcome(Outcome::Undecodable);
                    candidate.message = error.to_string();
                }
            }
        }
        let bytes = candidate
            .image
            .as_ref()
            .map(|image| image.data.clone())
            .unwrap_or_default();
        candidate.candidate_id = hex(&self.hash(slot, &bytes));
        Ok(candidate)
    }

    /// As many real images of the target class as the backend asks for, chosen by seed, slot and attempt.
    async fn exemplars(&self, task: &Assignment) -> Result<Vec<Image>, RunError> {
        let (slot, count) = (&task.slot, task.backend.exemplars as usize);
        let class = self.context.recipe.class_index(&slot.target_label);
        let ids = class
            .and_then(|class| self.train.get(class))
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut images = Vec::new();
        for id in choose(ids, count, self.seed(slot)) {
            images.push(self.images.get(id).await?);
        }
        Ok(images)
    }

    /// BLAKE3 of run, slot, attempt and bytes.
    fn hash(&self, slot: &Slot, bytes: &[u8]) -> [u8; 32] {
        let mut hash = blake3::Hasher::new();
        for part in [self.context.run_id.as_bytes(), slot.slot_id.as_bytes()] {
            hash.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        hash.update(&slot.attempt.to_le_bytes()).update(bytes);
        *hash.finalize().as_bytes()
    }

    /// The attempt's own seed: of the run's seed, the slot's place in the plan and the attempt, so that the same plan under
    /// another run id gives the same candidates.
    fn seed(&self, slot: &Slot) -> u64 {
        let mut hash = blake3::Hasher::new();
        hash.update(&self.context.seed.to_le_bytes())
            .update(slot.target_label.as_bytes());
        hash.update(&slot.ordinal.to_le_bytes())
            .update(&slot.attempt.to_le_bytes());
        let mut seed = [0; 8];
        seed.copy_from_slice(&hash.finalize().as_bytes()[..8]);
        u64::from_le_bytes(seed)
    }
}

fn hex(hash: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

/// `count` different ids, or all where there are fewer; deterministic by seed.
fn choose(ids: &[String], count: usize, seed: u64) -> impl Iterator<Item = &String> {
    use rand::SeedableRng as _;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    rand::seq::index::sample(&mut random, ids.len(), count.min(ids.len()))
        .into_iter()
        .filter_map(|index| ids.get(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exemplars_are_different_ones_and_the_same_for_the_same_seed() {
        let ids: Vec<String> = (0..50).map(|id| id.to_string()).collect();
        let chosen: Vec<_> = choose(&ids, 4, 7).collect();
        assert_eq!(chosen, choose(&ids, 4, 7).collect::<Vec<_>>());
        assert_eq!(
            chosen
                .iter()
                .collect::<std::collections::HashSet<_>>()
                .len(),
            4
        );
        assert_eq!(choose(&ids[..2], 4, 7).count(), 2);
        assert_eq!(choose(&[], 4, 7).count(), 0);
    }
}
