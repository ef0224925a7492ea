//! What a run reads of the label store, image by image: a split, the sealed golden set, its own candidates.

use futures::{Stream, TryStreamExt as _};
use saga_proto::labelstore::v1::{
    ListCandidatesRequest, ListCandidatesResponse, ReadGoldenRequest, ReadSplitRequest, Row,
};

use super::{RunContext, RunError};

/// The images of a split in the store's stable order; `wanted` needs no data set.
pub(crate) async fn split(
    context: &RunContext,
    wanted: ReadSplitRequest,
) -> Result<impl Stream<Item = Result<Row, RunError>>, RunError> {
    let request = ReadSplitRequest {
        dataset_id: context.dataset_id.clone(),
        ..wanted
    };
    let store = &context.services.datasets;
    let call = store.call(request, |mut store, request| async move {
        store.read_split(request).await
    });
    let answers = call.await?.map_err(|status| store.error(status).into());
    Ok(answers.map_ok(|answer| answer.row.unwrap_or_default()))
}

/// The golden images. The store records the read and its purpose.
pub(crate) async fn golden(
    context: &RunContext,
    purpose: &str,
) -> Result<impl Stream<Item = Result<Row, RunError>>, RunError> {
    let request = ReadGoldenRequest {
        dataset_id: context.dataset_id.clone(),
        reader: "orchestrator".into(),
        purpose: purpose.into(),
        run_id: context.run_id.clone(),
    };
    let store = &context.services.golden;
    let call = store.call(request, |mut store, request| async move {
        store.read_golden(request).await
    });
    let answers = call.await?.map_err(|status| store.error(status).into());
    Ok(answers.map_ok(|answer| answer.row.unwrap_or_default()))
}

/// The run's candidates in the order of settlement, and so of each slot's attempts.
pub(crate) async fn candidates(
    context: &RunContext,
    include_images: bool,
) -> Result<impl Stream<Item = Result<ListCandidatesResponse, RunError>>, RunError> {
    let request = ListCandidatesRequest {
        run_id: context.run_id.clone(),
        limit: 0,
        include_images,
    };
    let runs = &context.services.runs;
    let call = runs.call(request, |mut runs, request| async move {
        runs.list_candidates(request).await
    });
    Ok(call.await?.map_err(|status| runs.error(status).into()))
}
