//! What a finished run left to choose training images from: real ones, and every candidate.

use std::{collections::BTreeMap, pin::pin};

use futures::TryStreamExt as _;
use saga_proto::labelstore::v1::{ListCandidatesResponse, Settlement};

use crate::run::{RunContext, RunError, dataset, read};

/// A candidate with an image.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) id: String,
    /// Index of the target class.
    pub(crate) class: usize,
    pub(crate) admitted: bool,
}

/// Images by id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pool {
    /// Real train images by class.
    pub(crate) real: Vec<Vec<String>>,
    /// Candidates of each slot in the order of its attempts; those that ended without a verdict are left out.
    pub(crate) slots: BTreeMap<String, Vec<Made>>,
}

impl Pool {
    /// Reads ids, no image.
    pub(crate) async fn read(context: &RunContext) -> Result<Self, RunError> {
        let mut slots = BTreeMap::<String, Vec<Made>>::new();
        let mut listed = pin!(read::candidates(context, false).await?);
        while let Some(candidate) = listed.try_next().await? {
            if let Some(made) = made(context, &candidate) {
                slots.entry(candidate.slot_id).or_default().push(made);
            }
        }
        Ok(Self {
            real: dataset::train_ids(context).await?,
            slots,
        })
    }

    /// The first candidate of each slot that is `wanted`: a slot takes one image and then no further try.
    pub(crate) fn first_of_each_slot<'a>(
        &'a self,
        wanted: impl Fn(&Made) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Made> {
        self.slots
            .values()
            .filter_map(move |made| made.iter().find(|made| wanted(made)))
    }

    /// The accepted images.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = &Made> {
        self.first_of_each_slot(|made| made.admitted)
    }

    /// How many images of each class were accepted.
    pub(crate) fn accepted_by_class(&self) -> Vec<usize> {
        let mut counts = vec![0; self.real.len()];
        for made in self.accepted() {
            if let Some(count) = counts.get_mut(made.class) {
                *count += 1;
            }
        }
        counts
    }
}

fn made(context: &RunContext, candidate: &ListCandidatesResponse) -> Option<Made> {
    let rejected_by = &candidate.rejected_by;
    if rejected_by == "error" || rejected_by.starts_with("generator:") {
        return None;
    }
    Some(Made {
        id: candidate.candidate_id.clone(),
        class: context.recipe.class_index(&candidate.target_label)?,
        admitted: candidate.settlement() == Settlement::Admitted,
    })
}
