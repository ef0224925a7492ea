//! What the label store in memory does with slots, and what it counts.

use std::time::Instant;

use saga_proto::{
    generator::v1::Fault,
    labelstore::v1::{
        Arm, FaultCounts, GetFunnelResponse, LeaseSlotsRequest, ListCandidatesResponse, Settlement,
        Slot, SlotSource, TargetFunnel,
    },
};

use super::store::{COUNTS, FakeSlot, State};

impl FakeSlot {
    /// Whether nobody holds it, and it is not put off.
    pub(super) fn is_free(&self) -> bool {
        let over = self.until.is_some_and(|until| until <= Instant::now());
        self.ended.is_none() && (self.holder.is_none() || over)
    }

    pub(super) fn lease(&mut self, id: &str, by: &LeaseSlotsRequest, settled: usize) -> Slot {
        (self.holder, self.until) = (Some(by.holder.clone()), None);
        if self.settled.is_none() {
            self.paused = by.paused_backends.clone();
        }
        let sources = self.sources();
        Slot {
            slot_id: id.to_owned(),
            target_label: self.plan.target_label.clone(),
            ordinal: self.plan.ordinal,
            attempt: self.attempt,
            source_image_id: sources[0].image_id.clone(),
            source_label: sources[0].label.clone(),
            sources,
            settled: *self.settled.get_or_insert(settled as u64),
            paused_backends: self.paused.clone(),
        }
    }

    /// Those with tries left.
    fn sources(&self) -> Vec<SlotSource> {
        let tries = |id: &String| self.used.iter().filter(|used| *used == id).count() as u32;
        let planned = self.plan.source_image_ids.iter();
        let left = planned.filter(|id| tries(id) < self.plan.tries_per_source);
        let source = |id: &String| SlotSource {
            image_id: id.clone(),
            label: label(id).to_owned(),
        };
        left.map(source).collect()
    }

    pub(super) fn settle(&mut self, accepted: bool, source: &str) -> Settlement {
        assert!(self.sources().iter().any(|left| left.image_id == source));
        self.used.push(source.to_owned());
        self.settled = None;
        self.attempt += 1;
        (self.holder, self.until) = (None, None);
        let tries = self.plan.tries_per_source * self.plan.source_image_ids.len() as u32;
        let settlement = match accepted {
            true => Settlement::Admitted,
            false if self.attempt < tries => Settlement::Refunded,
            false => Settlement::Exhausted,
        };
        self.ended = (settlement != Settlement::Refunded).then_some(settlement);
        settlement
    }
}

/// The class of a train image.
fn label(id: &str) -> &str {
    id.split('-').nth(1).unwrap()
}

impl State {
    /// In order of settlement, with their images.
    pub(super) fn candidates(&self) -> Vec<ListCandidatesResponse> {
        let candidate = |id: &String| {
            let (request, settlement) = &self.settled[id];
            let made = request.candidate.clone().unwrap_or_default();
            ListCandidatesResponse {
                candidate_id: id.clone(),
                slot_id: request.slot_id.clone(),
                attempt: request.attempt,
                target_label: self.slots[&request.slot_id].plan.target_label.clone(),
                settlement: (*settlement).into(),
                rejected_by: request.rejected_by.clone(),
                source: made.image.clone(),
                image: made.image,
                ..ListCandidatesResponse::default()
            }
        };
        self.order.iter().map(candidate).collect()
    }

    pub(super) fn arms(&self, positions: std::ops::Range<usize>) -> Vec<Arm> {
        let end = positions.end.min(self.order.len());
        let mut arms: Vec<Arm> = Vec::new();
        for id in &self.order[positions.start.min(end)..end] {
            let (request, settlement) = &self.settled[id];
            let made = request.candidate.clone().unwrap_or_default();
            let arm = Arm {
                source_label: label(&request.source_image_id).to_owned(),
                target_label: self.slots[&request.slot_id].plan.target_label.clone(),
                prompt_text: request.prompt_text.clone(),
                backend: request.backend.clone(),
                attempts: 1,
                accepted: u64::from(*settlement == Settlement::Admitted),
                cost_usd: made.provenance.unwrap_or_default().cost_usd,
            };
            let key = |arm: &Arm| {
                let Arm {
                    source_label,
                    target_label,
                    prompt_text,
                    backend,
                    ..
                } = arm.clone();
                [target_label, source_label, prompt_text, backend]
            };
            match arms.iter_mut().find(|known| key(known) == key(&arm)) {
                Some(known) => {
                    known.attempts += 1;
                    known.accepted += arm.accepted;
                    known.cost_usd += arm.cost_usd;
                }
                None => arms.push(arm),
            }
        }
        arms
    }

    pub(super) fn funnel(&self) -> GetFunnelResponse {
        let mut funnel = GetFunnelResponse::default();
        for (label, train, ..) in COUNTS {
            let slots: Vec<_> = self
                .slots
                .values()
                .filter(|slot| slot.plan.target_label == label)
                .collect();
            let ended =
                |settlement| slots.iter().filter(|slot| slot.ended == settlement).count() as u32;
            funnel.targets.push(TargetFunnel {
                label: label.into(),
                real: train,
                planned: slots.len() as u32,
                accepted: ended(Some(Settlement::Admitted)),
                exhausted: ended(Some(Settlement::Exhausted)),
                open: ended(None),
            });
        }
        let (mut good, mut bad) = (
            FaultCounts {
                fault: Fault::None.into(),
                ..FaultCounts::default()
            },
            FaultCounts {
                fault: Fault::Blurred.into(),
                ..FaultCounts::default()
            },
        );
        for (request, settlement) in self.settled.values() {
            let candidate = request.candidate.clone().unwrap_or_default();
            if let Some(truth) = candidate.truth {
                let counts = if truth.fault() == Fault::None {
                    &mut good
                } else {
                    &mut bad
                };
                counts.generated += 1;
                counts.passed_gates += u64::from(request.accepted);
            }
            funnel.generated += u64::from(candidate.image.is_some());
            funnel.accepted += u64::from(*settlement == Settlement::Admitted);
            if !request.accepted {
                *funnel
                    .rejected_by
                    .entry(request.rejected_by.clone())
                    .or_default() += 1;
            }
            if !request.error.is_empty() {
                *funnel.errors.entry(request.error.clone()).or_default() += 1;
            }
        }
        funnel.faults = vec![good, bad];
        funnel
    }
}
