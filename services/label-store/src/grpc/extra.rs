//! Images that join a reading of the train split under a label of the caller's choice.

use saga_proto::labelstore::v1;

use super::{dataset::synthetic_row, real_row};
use crate::{
    candidates, dataset::Dataset, error::StoreError, images, runs, split::Side, store::Store,
};

/// Most extra images of one reading.
pub(super) const MAX_EXTRA: usize = 1_000_000;

/// The row of one extra image.
///
/// # Errors
/// Names the field for an image that is no train image and no candidate over this data set, and for a label that is no class.
pub(super) async fn row(
    store: &Store,
    dataset: &Dataset,
    extra: v1::ExtraImage,
    with_data: bool,
) -> Result<v1::Row, StoreError> {
    dataset.index("extra.label", &extra.label)?;
    let row = match images::image(store, &extra.image_id).await? {
        Some(real) if real.dataset_id == dataset.id && real.split == Side::Train.as_str() => {
            real_row(store, dataset, real, with_data).await?
        }
        Some(_) => return Err(unusable(&extra.image_id)),
        None => made(store, dataset, &extra.image_id, with_data).await?,
    };
    Ok(v1::Row {
        label: extra.label,
        ..row
    })
}

async fn made(
    store: &Store,
    dataset: &Dataset,
    id: &str,
    with_data: bool,
) -> Result<v1::Row, StoreError> {
    let candidate = candidates::by_id(store, id).await?;
    let candidate = candidate.filter(|candidate| candidate.blake3.is_some());
    let candidate = candidate.ok_or_else(|| unusable(id))?;
    if runs::get(store, &candidate.run_id).await?.dataset_id != dataset.id {
        return Err(unusable(id));
    }
    synthetic_row(store, dataset, candidate, with_data).await
}

fn unusable(id: &str) -> StoreError {
    let why = format!(
        "'{id}' is neither a train image of this data set nor a candidate with an image over it"
    );
    StoreError::invalid("extra.image_id", why)
}
