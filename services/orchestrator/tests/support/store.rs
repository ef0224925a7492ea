//! A label store in memory: one data set of three letters, slots with leases, idempotent settlement.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use saga_proto::{labelstore::v1::*, r#type::v1::Image};
use tonic::{Request, Response, Status};

use super::Answers;

/// Images of each class by split.
pub(super) const COUNTS: [(&str, u32, u32, u32); 3] =
    [("a", 12, 4, 4), ("b", 6, 4, 4), ("c", 3, 4, 4)];

#[derive(Debug, Clone, Default)]
pub struct FakeStore(pub Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub struct State {
    pub run: Option<Run>,
    pub stages: Vec<Stage>,
    pub slots: BTreeMap<String, FakeSlot>,
    /// Settlements by candidate id, first answers.
    pub settled: BTreeMap<String, (SettleCandidateRequest, Settlement)>,
    /// Candidate ids in the order of settlement.
    pub order: Vec<String>,
    /// Images that were stored ahead of it.
    pub kept: usize,
    pub golden_reads: Vec<ReadGoldenRequest>,
    /// Real images whose embeddings were told.
    pub embedded: Vec<String>,
    pub models: Vec<RegisteredModel>,
    /// Images of each class in the calibration split; 40 where it is not set.
    pub calibration: Option<u32>,
}

#[derive(Debug)]
pub struct FakeSlot {
    pub plan: SlotPlan,
    pub attempt: u32,
    pub holder: Option<String>,
    pub ended: Option<Settlement>,
    /// Sources of the attempts that ended.
    pub used: Vec<String>,
    /// Candidates that were settled when the attempt was first leased.
    pub settled: Option<u64>,
    /// Backends that could not be asked then.
    pub paused: Vec<String>,
    /// Until when it is put off.
    pub until: Option<Instant>,
}

impl FakeStore {
    pub fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Candidates that are part of the synthetic images.
    pub fn admitted(&self) -> usize {
        self.lock()
            .settled
            .values()
            .filter(|(_, settlement)| *settlement == Settlement::Admitted)
            .count()
    }
}

fn row(split: &str, label: &str, index: u32, data: bool) -> Row {
    let image = data.then(|| Image {
        data: format!("{label} {split} {index}").into(),
        ..Image::default()
    });
    Row {
        image_id: format!("{split}-{label}-{index}"),
        label: label.into(),
        image,
        ..Row::default()
    }
}

fn rows(
    split: &'static str,
    count: impl Fn(&(&str, u32, u32, u32)) -> u32,
    data: bool,
) -> Vec<Row> {
    COUNTS
        .iter()
        .flat_map(|class| (0..count(class)).map(move |index| row(split, class.0, index, data)))
        .collect()
}

fn stream<T: Send + 'static>(items: Vec<T>) -> Response<Answers<T>> {
    Response::new(Box::pin(futures::stream::iter(items.into_iter().map(Ok))))
}

#[tonic::async_trait]
impl dataset_service_server::DatasetService for FakeStore {
    type ImportDatasetStream = Answers<ImportDatasetResponse>;

    async fn import_dataset(
        &self,
        _: Request<ImportDatasetRequest>,
    ) -> Result<Response<Self::ImportDatasetStream>, Status> {
        let report = ImportReport {
            layout: "imagefolder".into(),
            imported: 45,
            ..ImportReport::default()
        };
        Ok(stream(vec![ImportDatasetResponse {
            event: Some(import_dataset_response::Event::Report(report)),
        }]))
    }

    async fn split_dataset(
        &self,
        _: Request<SplitDatasetRequest>,
    ) -> Result<Response<SplitDatasetResponse>, Status> {
        Ok(Response::new(SplitDatasetResponse { classes: counts() }))
    }

    async fn get_dataset(
        &self,
        _: Request<GetDatasetRequest>,
    ) -> Result<Response<GetDatasetResponse>, Status> {
        Ok(Response::new(GetDatasetResponse {
            classes: counts(),
            ..GetDatasetResponse::default()
        }))
    }

    type ReadSplitStream = Answers<ReadSplitResponse>;

    async fn read_split(
        &self,
        request: Request<ReadSplitRequest>,
    ) -> Result<Response<Self::ReadSplitStream>, Status> {
        let request = request.into_inner();
        let calibration = self.lock().calibration.unwrap_or(40);
        let rows = match request.split() {
            Split::Train => rows("train", |class| class.1, !request.omit_data),
            Split::Val => rows("val", |class| class.2, !request.omit_data),
            Split::Calibration => rows("calibration", |_| calibration, !request.omit_data),
            _ => return Err(Status::permission_denied("sealed")),
        };
        Ok(stream(
            rows.into_iter()
                .map(|row| ReadSplitResponse { row: Some(row) })
                .collect(),
        ))
    }

    async fn get_image(
        &self,
        request: Request<GetImageRequest>,
    ) -> Result<Response<GetImageResponse>, Status> {
        let id = request.into_inner().image_id;
        let row = rows("train", |class| class.1, true)
            .into_iter()
            .find(|row| row.image_id == id);
        Ok(Response::new(GetImageResponse {
            row: Some(row.ok_or_else(|| Status::not_found(id))?),
        }))
    }

    type ExportRunStream = Answers<ExportRunResponse>;

    async fn export_run(
        &self,
        _: Request<ExportRunRequest>,
    ) -> Result<Response<Self::ExportRunStream>, Status> {
        Err(Status::unimplemented("not in tests"))
    }
}

fn counts() -> Vec<ClassCounts> {
    let class = |(label, train, val, golden): (&str, u32, u32, u32)| ClassCounts {
        label: label.into(),
        total: train + val + golden,
        train,
        val,
        calibration: 0,
        golden,
    };
    COUNTS.into_iter().map(class).collect()
}

#[tonic::async_trait]
impl golden_service_server::GoldenService for FakeStore {
    type ReadGoldenStream = Answers<ReadGoldenResponse>;

    async fn read_golden(
        &self,
        request: Request<ReadGoldenRequest>,
    ) -> Result<Response<Self::ReadGoldenStream>, Status> {
        self.lock().golden_reads.push(request.into_inner());
        Ok(stream(
            rows("golden", |class| class.3, true)
                .into_iter()
                .map(|row| ReadGoldenResponse { row: Some(row) })
                .collect(),
        ))
    }

    async fn list_golden_reads(
        &self,
        _: Request<ListGoldenReadsRequest>,
    ) -> Result<Response<ListGoldenReadsResponse>, Status> {
        let read = |read: &ReadGoldenRequest| GoldenRead {
            time: None,
            reader: read.reader.clone(),
            purpose: read.purpose.clone(),
            run_id: read.run_id.clone(),
        };
        let reads = self.lock().golden_reads.iter().map(read).collect();
        Ok(Response::new(ListGoldenReadsResponse { reads }))
    }
}

#[tonic::async_trait]
impl run_service_server::RunService for FakeStore {
    async fn create_run(
        &self,
        request: Request<CreateRunRequest>,
    ) -> Result<Response<CreateRunResponse>, Status> {
        let (run, mut state) = (request.into_inner().run, self.lock());
        match &state.run {
            None => state.run = run,
            Some(known) if Some(known) != run.as_ref() => {
                return Err(Status::already_exists("the run exists with other contents"));
            }
            Some(_) => return Ok(Response::new(CreateRunResponse { created: false })),
        }
        Ok(Response::new(CreateRunResponse { created: true }))
    }

    async fn get_run(&self, _: Request<GetRunRequest>) -> Result<Response<GetRunResponse>, Status> {
        let state = self.lock();
        let run = state
            .run
            .clone()
            .ok_or_else(|| Status::not_found("no such run"))?;
        Ok(Response::new(GetRunResponse {
            run: Some(run),
            stages: state.stages.clone(),
        }))
    }

    async fn complete_stage(
        &self,
        request: Request<CompleteStageRequest>,
    ) -> Result<Response<CompleteStageResponse>, Status> {
        let (stage, mut state) = (request.into_inner().stage.unwrap(), self.lock());
        if state.stages.iter().all(|known| known.name != stage.name) {
            state.stages.push(stage);
        }
        Ok(Response::new(CompleteStageResponse {}))
    }

    async fn add_slots(
        &self,
        request: Request<AddSlotsRequest>,
    ) -> Result<Response<AddSlotsResponse>, Status> {
        let (request, mut state) = (request.into_inner(), self.lock());
        for plan in request.slots {
            let id = format!("{}-{}", plan.target_label, plan.ordinal);
            state.slots.entry(id).or_insert(FakeSlot {
                plan,
                attempt: 0,
                holder: None,
                ended: None,
                used: Vec::new(),
                settled: None,
                paused: Vec::new(),
                until: None,
            });
        }
        Ok(Response::new(AddSlotsResponse::default()))
    }

    async fn lease_slots(
        &self,
        request: Request<LeaseSlotsRequest>,
    ) -> Result<Response<LeaseSlotsResponse>, Status> {
        let (request, mut state) = (request.into_inner(), self.lock());
        let settled = state.order.len();
        let open = state
            .slots
            .values()
            .filter(|slot| slot.ended.is_none())
            .count() as u32;
        let free = state.slots.iter_mut().filter(|(_, slot)| slot.is_free());
        let slots = free
            .take(request.limit as usize)
            .map(|(id, slot)| slot.lease(id, &request, settled))
            .collect();
        Ok(Response::new(LeaseSlotsResponse { slots, open }))
    }

    async fn put_off_slot(
        &self,
        request: Request<PutOffSlotRequest>,
    ) -> Result<Response<PutOffSlotResponse>, Status> {
        let (request, mut state) = (request.into_inner(), self.lock());
        let slot = state.slots.get_mut(&request.slot_id).unwrap();
        if slot.holder == Some(request.holder) && slot.attempt == request.attempt {
            let wait: Duration = request.wait.unwrap().try_into().unwrap();
            slot.until = Some(Instant::now() + wait);
            slot.settled = slot.settled.filter(|_| !request.unasked);
        }
        Ok(Response::new(PutOffSlotResponse {}))
    }

    async fn release_leases(
        &self,
        request: Request<ReleaseLeasesRequest>,
    ) -> Result<Response<ReleaseLeasesResponse>, Status> {
        let holder = Some(request.into_inner().holder);
        self.lock()
            .slots
            .values_mut()
            .filter(|slot| slot.holder == holder)
            .for_each(|slot| (slot.holder, slot.until) = (None, None));
        Ok(Response::new(ReleaseLeasesResponse::default()))
    }

    async fn keep_image(
        &self,
        request: Request<KeepImageRequest>,
    ) -> Result<Response<KeepImageResponse>, Status> {
        assert!(!request.into_inner().image.unwrap().data.is_empty());
        self.lock().kept += 1;
        Ok(Response::new(KeepImageResponse::default()))
    }

    async fn settle_candidate(
        &self,
        request: Request<SettleCandidateRequest>,
    ) -> Result<Response<SettleCandidateResponse>, Status> {
        let (request, mut state) = (request.into_inner(), self.lock());
        if let Some((_, settlement)) = state.settled.get(&request.candidate_id) {
            return Ok(Response::new(SettleCandidateResponse {
                settlement: (*settlement).into(),
            }));
        }
        let slot = state
            .slots
            .get_mut(&request.slot_id)
            .ok_or_else(|| Status::not_found("no such slot"))?;
        if slot.attempt != request.attempt || slot.ended.is_some() {
            return Err(Status::failed_precondition("another attempt"));
        }
        let image = request
            .candidate
            .clone()
            .and_then(|candidate| candidate.image);
        let text = image.map(|image| String::from_utf8_lossy(&image.data).into_owned());
        if request.accepted && text.is_none_or(|text| text.contains("undecodable")) {
            return Err(Status::invalid_argument("candidate.image: does not decode"));
        }
        let settlement = slot.settle(request.accepted, &request.source_image_id);
        state.order.push(request.candidate_id.clone());
        state
            .settled
            .insert(request.candidate_id.clone(), (request, settlement));
        Ok(Response::new(SettleCandidateResponse {
            settlement: settlement.into(),
        }))
    }

    async fn add_embeddings(
        &self,
        request: Request<AddEmbeddingsRequest>,
    ) -> Result<Response<AddEmbeddingsResponse>, Status> {
        let told = request.into_inner().embeddings.into_iter();
        self.lock().embedded.extend(told.map(|one| one.image_id));
        Ok(Response::new(AddEmbeddingsResponse {}))
    }

    async fn get_arms(
        &self,
        request: Request<GetArmsRequest>,
    ) -> Result<Response<GetArmsResponse>, Status> {
        let request = request.into_inner();
        let end = request.end.map_or(usize::MAX, |end| end as usize);
        let arms = self.lock().arms(request.first as usize..end);
        Ok(Response::new(GetArmsResponse { arms }))
    }

    async fn get_funnel(
        &self,
        _: Request<GetFunnelRequest>,
    ) -> Result<Response<GetFunnelResponse>, Status> {
        Ok(Response::new(self.lock().funnel()))
    }

    type ListCandidatesStream = Answers<ListCandidatesResponse>;

    async fn list_candidates(
        &self,
        _: Request<ListCandidatesRequest>,
    ) -> Result<Response<Self::ListCandidatesStream>, Status> {
        Ok(stream(self.lock().candidates()))
    }
}
