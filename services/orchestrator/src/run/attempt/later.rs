//! Attempts whose backend rests: what is put off, for how long, and what is drawn again.

use std::time::Duration;

use saga_proto::labelstore::v1::{PutOffSlotRequest, Slot};

use super::Attempts;
use crate::{
    recipe::Allocation,
    run::{
        RunError,
        assignment::Assignment,
        ended::{Ended, Later},
    },
};

/// The longest that a slot is put off at once; the label store allows no more.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

impl Attempts {
    fn is_drawn(&self) -> bool {
        self.context.recipe.plan.allocation == Allocation::Bandit
    }

    /// Whether the backend of an attempt in turn rests. One that is drawn is asked even so: its answer may be there already, and
    /// where there is none it is drawn again.
    pub(super) fn rests(&self, task: &Assignment) -> Option<Later> {
        let pause = self.pauses.now().remove(&task.backend.name)?;
        (!self.is_drawn()).then_some(Later::Quota(pause))
    }

    /// Leaves the attempt for later: in turn to the same backend when it can be asked, drawn again where nothing was asked.
    pub(super) async fn put_off(&self, slot: &Slot, later: Later) -> Result<Ended, RunError> {
        let again = self.is_drawn() && matches!(later, Later::Quota(_));
        let wait = match again {
            true => Duration::ZERO,
            false => later.pause().wait.min(LONGEST_WAIT),
        };
        let request = PutOffSlotRequest {
            run_id: self.context.run_id.clone(),
            slot_id: slot.slot_id.clone(),
            attempt: slot.attempt,
            holder: self.context.config.run.holder.clone(),
            wait: wait.try_into().ok(),
            unasked: again,
        };
        let runs = &self.context.services.runs;
        runs.call(request, |mut runs, request| async move {
            runs.put_off_slot(request).await
        })
        .await?;
        Ok(Ended::Later(later))
    }
}
