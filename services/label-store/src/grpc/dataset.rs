//! DatasetService.

use std::path::PathBuf;

use saga_proto::labelstore::v1::{
    self, dataset_service_server::DatasetService, import_dataset_response::Event,
};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::{Answers, Service, Streaming, extra, image, real_row};
use crate::{
    candidate::Settlement,
    candidates::{self, Candidate, Which},
    dataset::{self, ClassCounts, Dataset},
    error::StoreError,
    export, images,
    import::{self, ImportReport, ImportRequest},
    runs,
    split::{Policy, Side},
    store::Store,
};

#[tonic::async_trait]
impl DatasetService for Service {
    type ImportDatasetStream = Streaming<v1::ImportDatasetResponse>;
    type ReadSplitStream = Streaming<v1::ReadSplitResponse>;
    type ExportRunStream = Streaming<v1::ExportRunResponse>;

    async fn import_dataset(
        &self,
        request: Request<v1::ImportDatasetRequest>,
    ) -> Result<Response<Self::ImportDatasetStream>, Status> {
        let v1::ImportDatasetRequest {
            dataset_id,
            path,
            classes,
        } = request.into_inner();
        let request = ImportRequest {
            dataset_id,
            path: PathBuf::from(path),
            classes,
        };
        Ok(self.stream(|store, answers| import(store, request, answers)))
    }

    async fn split_dataset(
        &self,
        request: Request<v1::SplitDatasetRequest>,
    ) -> Result<Response<v1::SplitDatasetResponse>, Status> {
        let request = request.into_inner();
        self.answer(split(&self.store, request).await)
    }

    async fn get_dataset(
        &self,
        request: Request<v1::GetDatasetRequest>,
    ) -> Result<Response<v1::GetDatasetResponse>, Status> {
        self.answer(describe(&self.store, &request.into_inner().dataset_id).await)
    }

    async fn read_split(
        &self,
        request: Request<v1::ReadSplitRequest>,
    ) -> Result<Response<Self::ReadSplitStream>, Status> {
        let request = request.into_inner();
        let side = readable_side(&request).map_err(|e| self.status(&e))?;
        let (dataset, _) = dataset::get_divided(&self.store, &request.dataset_id)
            .await
            .map_err(|e| self.status(&e))?;
        Ok(self.stream(move |store, answers| read(store, dataset, side, request, answers)))
    }

    async fn get_image(
        &self,
        request: Request<v1::GetImageRequest>,
    ) -> Result<Response<v1::GetImageResponse>, Status> {
        let row = one_image(&self.store, &request.into_inner().image_id).await;
        self.answer(row.map(|row| v1::GetImageResponse { row: Some(row) }))
    }

    async fn export_run(
        &self,
        request: Request<v1::ExportRunRequest>,
    ) -> Result<Response<Self::ExportRunStream>, Status> {
        let v1::ExportRunRequest {
            run_id,
            directory,
            face_side,
        } = request.into_inner();
        Ok(self.stream(move |store, answers| async move {
            let (sender, mut progress) = mpsc::channel(4);
            let forward = async {
                while let Some(export::Progress { done, total }) = progress.recv().await {
                    if !answers.send(v1::ExportRunResponse { done, total }).await {
                        break;
                    }
                }
                // Dropped here, the receiver tells the export that nobody listens.
                drop(progress);
            };
            let work = async {
                let directory = PathBuf::from(directory);
                let result = export::export(&store, &run_id, &directory, face_side, &sender).await;
                drop(sender);
                result
            };
            let (result, ()) = tokio::join!(work, forward);
            result
        }))
    }
}

async fn import(
    store: Store,
    request: ImportRequest,
    answers: Answers<v1::ImportDatasetResponse>,
) -> Result<(), StoreError> {
    let (sender, mut progress) = mpsc::channel::<import::Progress>(4);
    let work = async {
        let result = import::import(&store, request, &sender).await;
        drop(sender);
        result
    };
    let forward = async {
        while let Some(import::Progress { done, total }) = progress.recv().await {
            let event = Event::Progress(v1::ImportProgress { done, total });
            if !answers
                .send(v1::ImportDatasetResponse { event: Some(event) })
                .await
            {
                break;
            }
        }
        drop(progress);
    };
    let (report, ()) = tokio::join!(work, forward);
    let event = Event::Report(report_message(report?));
    answers
        .send(v1::ImportDatasetResponse { event: Some(event) })
        .await;
    Ok(())
}

fn report_message(report: ImportReport) -> v1::ImportReport {
    let bad_row = |row: import::BadRow| v1::BadRow {
        line: row.line,
        path: row.path,
        reason: row.reason.to_owned(),
        message: row.message,
    };
    v1::ImportReport {
        layout: report.layout.to_owned(),
        imported: report.imported,
        unchanged: report.unchanged,
        rejected: report.rejected,
        bad_rows: report.bad_rows.into_iter().map(bad_row).collect(),
    }
}

async fn split(
    store: &Store,
    request: v1::SplitDatasetRequest,
) -> Result<v1::SplitDatasetResponse, StoreError> {
    let policy = request
        .policy
        .ok_or_else(|| StoreError::invalid("policy", "is missing"))?;
    let policy = Policy {
        golden_per_class: policy.golden_per_class,
        golden_fraction: policy.golden_fraction,
        val_fraction: policy.val_fraction,
        calibration_fraction: policy.calibration_fraction,
        seed: policy.seed,
    };
    let counts = dataset::divide(store, &request.dataset_id, policy).await?;
    Ok(v1::SplitDatasetResponse {
        classes: counts.into_iter().map(counts_message).collect(),
    })
}

async fn describe(store: &Store, id: &str) -> Result<v1::GetDatasetResponse, StoreError> {
    let dataset = dataset::get(store, id).await?;
    Ok(v1::GetDatasetResponse {
        classes: dataset::counts(store, &dataset)
            .await?
            .into_iter()
            .map(counts_message)
            .collect(),
        subjects: dataset::subjects(store, id).await?,
        policy: dataset.policy.map(|policy| v1::SplitPolicy {
            golden_per_class: policy.golden_per_class,
            golden_fraction: policy.golden_fraction,
            val_fraction: policy.val_fraction,
            calibration_fraction: policy.calibration_fraction,
            seed: policy.seed,
        }),
        path: dataset.path.display().to_string(),
        dataset_id: dataset.id,
    })
}

fn counts_message(counts: ClassCounts) -> v1::ClassCounts {
    v1::ClassCounts {
        label: counts.label,
        total: counts.total,
        train: counts.train,
        val: counts.val,
        calibration: counts.calibration,
        golden: counts.golden,
    }
}

fn readable_side(request: &v1::ReadSplitRequest) -> Result<Side, StoreError> {
    let side = match request.split() {
        v1::Split::Train => Side::Train,
        v1::Split::Val => Side::Val,
        v1::Split::Calibration => Side::Calibration,
        v1::Split::Golden => return Err(StoreError::GoldenSealed),
        v1::Split::Unspecified => return Err(StoreError::invalid("split", "is missing")),
    };
    if side != Side::Train && !request.synthetic_run_id.is_empty() {
        return Err(StoreError::invalid(
            "synthetic_run_id",
            "synthetic images are in SPLIT_TRAIN only",
        ));
    }
    if side != Side::Train && !request.extra.is_empty() {
        return Err(StoreError::invalid("extra", "images join SPLIT_TRAIN only"));
    }
    if request.extra.len() > extra::MAX_EXTRA {
        let why = format!(
            "has {} images; the limit is {}",
            request.extra.len(),
            extra::MAX_EXTRA
        );
        return Err(StoreError::invalid("extra", why));
    }
    Ok(side)
}

async fn read(
    store: Store,
    dataset: Dataset,
    side: Side,
    request: v1::ReadSplitRequest,
    answers: Answers<v1::ReadSplitResponse>,
) -> Result<(), StoreError> {
    let with_data = !request.omit_data;
    let run = match request.synthetic_run_id.as_str() {
        "" => None,
        id => Some(runs::get(&store, id).await?),
    };
    if run.as_ref().is_some_and(|run| run.dataset_id != dataset.id) {
        return Err(StoreError::invalid(
            "synthetic_run_id",
            "is a run over another data set",
        ));
    }
    let mut after = String::new();
    loop {
        let page = images::page(&store, &dataset.id, side, &after).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.path);
        for row in page {
            let row = real_row(&store, &dataset, row, with_data).await?;
            if !answers.send(v1::ReadSplitResponse { row: Some(row) }).await {
                return Ok(());
            }
        }
    }
    let mut after = -1;
    while let Some(run) = &run {
        let page = candidates::page(&store, &run.id, Which::Admitted, after).await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        for candidate in page {
            let row = synthetic_row(&store, &dataset, candidate, with_data).await?;
            if !answers.send(v1::ReadSplitResponse { row: Some(row) }).await {
                return Ok(());
            }
        }
    }
    for extra in request.extra {
        let row = extra::row(&store, &dataset, extra, with_data).await?;
        if !answers.send(v1::ReadSplitResponse { row: Some(row) }).await {
            break;
        }
    }
    Ok(())
}

pub(super) async fn synthetic_row(
    store: &Store,
    dataset: &Dataset,
    candidate: Candidate,
    with_data: bool,
) -> Result<v1::Row, StoreError> {
    let blake3 = candidate
        .blake3
        .ok_or_else(|| StoreError::Corrupt(format!("image of candidate {}", candidate.id)))?;
    Ok(v1::Row {
        label: dataset.label(candidate.target)?.to_owned(),
        image: Some(image(store, &blake3, with_data).await?),
        image_id: candidate.id,
        subject: candidate.subject,
        synthetic: true,
        path: String::new(),
    })
}

async fn one_image(store: &Store, id: &str) -> Result<v1::Row, StoreError> {
    if let Some(row) = images::image(store, id).await? {
        let dataset = dataset::get(store, &row.dataset_id).await?;
        return real_row(store, &dataset, row, true).await;
    }
    let admitted = |candidate: &Candidate| candidate.settlement == Settlement::Admitted;
    let candidate = candidates::by_id(store, id)
        .await?
        .filter(admitted)
        .ok_or_else(|| StoreError::NotFound {
            reason: "NO_SUCH_IMAGE",
            message: format!("there is no image '{id}'"),
        })?;
    let run = runs::get(store, &candidate.run_id).await?;
    let dataset = dataset::get(store, &run.dataset_id).await?;
    synthetic_row(store, &dataset, candidate, true).await
}
