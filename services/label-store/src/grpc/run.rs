//! RunService.

use saga_proto::labelstore::v1::{self, run_service_server::RunService};
use tonic::{Request, Response, Status};

use super::{Answers, Service, Streaming, candidate, image};
use crate::{
    admission,
    arms::{self, Arm},
    candidates::{self, Which},
    dataset, duplicates,
    error::StoreError,
    funnel::{self, Funnel},
    put_off::{self, PutOff},
    runs::{self, Run, Stage},
    slots::{self, Slot, SlotPlan, Source},
    store::Store,
};

#[tonic::async_trait]
impl RunService for Service {
    type ListCandidatesStream = Streaming<v1::ListCandidatesResponse>;

    async fn create_run(
        &self,
        request: Request<v1::CreateRunRequest>,
    ) -> Result<Response<v1::CreateRunResponse>, Status> {
        let run = run_of(request.into_inner().run).map_err(|e| self.status(&e))?;
        let created = runs::create(&self.store, &run).await;
        self.answer(created.map(|created| v1::CreateRunResponse { created }))
    }

    async fn get_run(
        &self,
        request: Request<v1::GetRunRequest>,
    ) -> Result<Response<v1::GetRunResponse>, Status> {
        self.answer(get(&self.store, &request.into_inner().run_id).await)
    }

    async fn complete_stage(
        &self,
        request: Request<v1::CompleteStageRequest>,
    ) -> Result<Response<v1::CompleteStageResponse>, Status> {
        let v1::CompleteStageRequest { run_id, stage } = request.into_inner();
        let v1::Stage {
            name,
            result_json,
            duration,
        } = stage.unwrap_or_default();
        let stage = Stage {
            name,
            result_json,
            duration_us: candidate::microseconds(duration),
        };
        let done = runs::complete_stage(&self.store, &run_id, &stage).await;
        self.answer(done.map(|()| v1::CompleteStageResponse {}))
    }

    async fn add_embeddings(
        &self,
        request: Request<v1::AddEmbeddingsRequest>,
    ) -> Result<Response<v1::AddEmbeddingsResponse>, Status> {
        let v1::AddEmbeddingsRequest { run_id, embeddings } = request.into_inner();
        let embeddings = embeddings
            .into_iter()
            .map(|one| (one.image_id, one.embedding));
        let added = duplicates::add_embeddings(&self.store, &run_id, embeddings.collect()).await;
        self.answer(added.map(|()| v1::AddEmbeddingsResponse {}))
    }

    async fn add_slots(
        &self,
        request: Request<v1::AddSlotsRequest>,
    ) -> Result<Response<v1::AddSlotsResponse>, Status> {
        let v1::AddSlotsRequest { run_id, slots } = request.into_inner();
        let plans: Vec<SlotPlan> = slots.into_iter().map(plan_of).collect();
        let added = slots::add(&self.store, &run_id, &plans).await;
        self.answer(added.map(|added| v1::AddSlotsResponse { added }))
    }

    async fn lease_slots(
        &self,
        request: Request<v1::LeaseSlotsRequest>,
    ) -> Result<Response<v1::LeaseSlotsResponse>, Status> {
        let v1::LeaseSlotsRequest {
            run_id,
            holder,
            limit,
            ttl,
            paused_backends: paused,
        } = request.into_inner();
        let ttl_ms = candidate::microseconds(ttl) / 1_000;
        let leased = slots::lease(&self.store, &run_id, &holder, limit, ttl_ms, &paused).await;
        self.answer(leased.map(|(slots, open)| v1::LeaseSlotsResponse {
            slots: slots.into_iter().map(slot_message).collect(),
            open,
        }))
    }

    async fn put_off_slot(
        &self,
        request: Request<v1::PutOffSlotRequest>,
    ) -> Result<Response<v1::PutOffSlotResponse>, Status> {
        let request = request.into_inner();
        let put_off = PutOff {
            run_id: request.run_id,
            slot_id: request.slot_id,
            attempt: request.attempt,
            holder: request.holder,
            wait_ms: candidate::microseconds(request.wait) / 1_000,
            unasked: request.unasked,
        };
        let done = put_off::put_off(&self.store, &put_off).await;
        self.answer(done.map(|()| v1::PutOffSlotResponse {}))
    }

    async fn release_leases(
        &self,
        request: Request<v1::ReleaseLeasesRequest>,
    ) -> Result<Response<v1::ReleaseLeasesResponse>, Status> {
        let v1::ReleaseLeasesRequest { run_id, holder } = request.into_inner();
        let released = slots::release(&self.store, &run_id, &holder).await;
        self.answer(released.map(|released| v1::ReleaseLeasesResponse { released }))
    }

    async fn keep_image(
        &self,
        request: Request<v1::KeepImageRequest>,
    ) -> Result<Response<v1::KeepImageResponse>, Status> {
        let image = request.into_inner().image.unwrap_or_default();
        let kept = admission::keep(&self.store, image.data, image.blake3).await;
        self.answer(kept.map(|blake3| v1::KeepImageResponse { blake3 }))
    }

    async fn settle_candidate(
        &self,
        request: Request<v1::SettleCandidateRequest>,
    ) -> Result<Response<v1::SettleCandidateResponse>, Status> {
        let settled =
            admission::settle(&self.store, candidate::attempt_of(request.into_inner())).await;
        self.answer(settled.map(|settlement| v1::SettleCandidateResponse {
            settlement: candidate::settlement_message(settlement).into(),
        }))
    }

    async fn get_arms(
        &self,
        request: Request<v1::GetArmsRequest>,
    ) -> Result<Response<v1::GetArmsResponse>, Status> {
        let v1::GetArmsRequest { run_id, first, end } = request.into_inner();
        let arms = arms::arms(&self.store, &run_id, first..end.unwrap_or(u64::MAX)).await;
        self.answer(arms.map(|arms| v1::GetArmsResponse {
            arms: arms.into_iter().map(arm_message).collect(),
        }))
    }

    async fn get_funnel(
        &self,
        request: Request<v1::GetFunnelRequest>,
    ) -> Result<Response<v1::GetFunnelResponse>, Status> {
        let funnel = funnel::funnel(&self.store, &request.into_inner().run_id).await;
        self.answer(funnel.map(funnel_message))
    }

    async fn list_candidates(
        &self,
        request: Request<v1::ListCandidatesRequest>,
    ) -> Result<Response<Self::ListCandidatesStream>, Status> {
        let request = request.into_inner();
        let run = runs::get(&self.store, &request.run_id)
            .await
            .map_err(|e| self.status(&e))?;
        Ok(self.stream(move |store, answers| list(store, run, request, answers)))
    }
}

fn run_of(run: Option<v1::Run>) -> Result<Run, StoreError> {
    let run = run.ok_or_else(|| StoreError::invalid("run", "is missing"))?;
    Ok(Run {
        id: run.run_id,
        dataset_id: run.dataset_id,
        recipe_toml: run.recipe_toml,
        seed: run.seed.cast_signed(),
        generator: run.generator,
        max_synthetic_fraction: run.max_synthetic_fraction,
        max_phash_distance: run.max_phash_distance.map(i64::from),
        prompt_version: run.prompt_version,
        max_clip_cosine: run.max_clip_cosine,
        class_size: run.class_size.map(i64::from),
    })
}

async fn get(store: &Store, id: &str) -> Result<v1::GetRunResponse, StoreError> {
    let run = runs::get(store, id).await?;
    let stages = runs::stages(store, id).await?;
    let stage = |stage: Stage| v1::Stage {
        name: stage.name,
        result_json: stage.result_json,
        duration: Some(candidate::duration(stage.duration_us)),
    };
    Ok(v1::GetRunResponse {
        run: Some(v1::Run {
            run_id: run.id,
            dataset_id: run.dataset_id,
            recipe_toml: run.recipe_toml,
            seed: run.seed.cast_unsigned(),
            generator: run.generator,
            max_synthetic_fraction: run.max_synthetic_fraction,
            max_phash_distance: run.max_phash_distance.and_then(|d| u32::try_from(d).ok()),
            prompt_version: run.prompt_version,
            max_clip_cosine: run.max_clip_cosine,
            class_size: run.class_size.and_then(|n| u32::try_from(n).ok()),
        }),
        stages: stages.into_iter().map(stage).collect(),
    })
}

fn plan_of(plan: v1::SlotPlan) -> SlotPlan {
    SlotPlan {
        target_label: plan.target_label,
        ordinal: plan.ordinal,
        source_image_ids: plan.source_image_ids,
        tries_per_source: plan.tries_per_source,
    }
}

fn slot_message(slot: Slot) -> v1::Slot {
    let source = |source: Source| v1::SlotSource {
        image_id: source.image_id,
        label: source.label,
    };
    let sources: Vec<v1::SlotSource> = slot.sources.into_iter().map(source).collect();
    let first = sources.first().cloned().unwrap_or_default();
    v1::Slot {
        slot_id: slot.id,
        target_label: slot.target_label,
        ordinal: slot.ordinal,
        attempt: slot.attempt,
        source_image_id: first.image_id,
        source_label: first.label,
        sources,
        settled: slot.settled,
        paused_backends: slot.paused,
    }
}

fn arm_message(arm: Arm) -> v1::Arm {
    v1::Arm {
        source_label: arm.source_label,
        target_label: arm.target_label,
        prompt_text: arm.prompt_text,
        backend: arm.backend,
        attempts: arm.attempts,
        accepted: arm.accepted,
        cost_usd: arm.cost_usd,
    }
}

fn funnel_message(funnel: Funnel) -> v1::GetFunnelResponse {
    let n = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
    let target = |t: funnel::TargetFunnel| v1::TargetFunnel {
        label: t.label,
        real: n(t.real),
        planned: n(t.planned),
        accepted: n(t.accepted),
        exhausted: n(t.exhausted),
        open: n(t.open),
    };
    let fault = |f: funnel::FaultCounts| v1::FaultCounts {
        fault: i32::try_from(f.fault).unwrap_or_default(),
        generated: f.generated.cast_unsigned(),
        passed_gates: f.passed_gates.cast_unsigned(),
        admitted: f.admitted.cast_unsigned(),
    };
    v1::GetFunnelResponse {
        targets: funnel.targets.into_iter().map(target).collect(),
        rejected_by: funnel.rejected_by.into_iter().collect(),
        errors: funnel.errors.into_iter().collect(),
        generated: funnel.generated,
        accepted: funnel.accepted,
        faults: funnel.faults.into_iter().map(fault).collect(),
        cost_usd: funnel.cost_usd,
    }
}

async fn list(
    store: Store,
    run: Run,
    request: v1::ListCandidatesRequest,
    answers: Answers<v1::ListCandidatesResponse>,
) -> Result<(), StoreError> {
    let mut left = if request.limit == 0 {
        u32::MAX
    } else {
        request.limit
    };
    let mut after = -1;
    // A run without slots has no candidates and perhaps no data set yet.
    let mut page = candidates::page(&store, &run.id, Which::All, after).await?;
    if page.is_empty() {
        return Ok(());
    }
    let dataset = dataset::get(&store, &run.dataset_id).await?;
    while !page.is_empty() {
        for candidate in page {
            after = candidate.position;
            let images = match (&candidate.blake3, request.include_images) {
                (Some(own), true) => (
                    Some(image(&store, own, true).await?),
                    Some(image(&store, &candidate.source_blake3, true).await?),
                ),
                (None, true) => (
                    None,
                    Some(image(&store, &candidate.source_blake3, true).await?),
                ),
                _ => (None, None),
            };
            let message = candidate::message(candidate, &dataset, images)?;
            if left == 0 || !answers.send(message).await {
                return Ok(());
            }
            left -= 1;
        }
        page = candidates::page(&store, &run.id, Which::All, after).await?;
    }
    Ok(())
}
