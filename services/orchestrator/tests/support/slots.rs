//! What the label store in memory does with slots, and what it counts.

use saga_proto::{
    generator::v1::Fault,
    labelstore::v1::{FaultCounts, GetFunnelResponse, Settlement, Slot, TargetFunnel},
};

use super::store::{COUNTS, FakeSlot, State};

impl FakeSlot {
    pub(super) fn lease(&mut self, id: &str, holder: &str) -> Slot {
        self.holder = Some(holder.to_owned());
        let source =
            &self.plan.source_image_ids[(self.attempt / self.plan.tries_per_source) as usize];
        Slot {
            slot_id: id.to_owned(),
            target_label: self.plan.target_label.clone(),
            ordinal: self.plan.ordinal,
            attempt: self.attempt,
            source_image_id: source.clone(),
            source_label: source.split('-').nth(1).unwrap().to_owned(),
        }
    }

    pub(super) fn settle(&mut self, accepted: bool) -> Settlement {
        self.attempt += 1;
        self.holder = None;
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

impl State {
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
