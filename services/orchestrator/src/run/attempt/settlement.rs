//! The end of an attempt in the label store.

use saga_proto::labelstore::v1::{KeepImageRequest, SettleCandidateRequest, Settlement};
use tonic::Code;
use tracing::{Instrument as _, Span};

use super::{Attempts, hex};
use crate::{
    remote::RemoteError,
    run::{
        RunError,
        assignment::Assignment,
        ended::{Ended, Made},
    },
};

impl Attempts {
    /// Stores the image ahead of the turn, so that others do not wait for it then.
    pub(super) async fn keep(&self, made: &Result<Made, Ended>) {
        let Ok(Made { candidate, .. }) = made else {
            return;
        };
        if candidate.image.is_none() {
            return;
        }
        let request = KeepImageRequest {
            image: candidate.image.clone(),
        };
        let runs = &self.context.services.runs;
        let kept = runs.call(request, |mut runs, request| async move {
            runs.keep_image(request).await
        });
        if let Err(error) = kept.await {
            tracing::debug!(%error, "not stored ahead; its settlement will say why");
        }
    }

    /// Ends the attempt in the label store: admission, or refund of the slot.
    pub(super) async fn settle(
        &self,
        task: &Assignment,
        mut made: Made,
    ) -> Result<Ended, RunError> {
        if made.candidate.candidate_id.is_empty() {
            made.candidate.candidate_id = hex(&self.hash(&task.slot, b""));
        }
        let mut answer = self.report(task, &made).await;
        if let Err(refused) = &answer
            && made.accepted()
            && refused.status.code() == Code::InvalidArgument
        {
            // An image that the store cannot take is this attempt's error, not the run's.
            made.candidate.image = None;
            made = Made::error(made.candidate, refused.to_string());
            answer = self.report(task, &made).await;
        }
        match answer {
            Ok(settlement) => Ok(Ended::Settled {
                admitted: settlement == Settlement::Admitted,
                error: (!made.error.is_empty()).then_some(made.error),
            }),
            Err(error) if error.status.code() == Code::FailedPrecondition => {
                Ok(Ended::Lost(error.to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn report(&self, task: &Assignment, made: &Made) -> Result<Settlement, RemoteError> {
        let slot = &task.slot;
        let outcome = if made.accepted() {
            "accepted"
        } else {
            &made.rejected_by
        };
        Span::current()
            .record("candidate_id", &made.candidate.candidate_id)
            .record("outcome", outcome);
        let request = SettleCandidateRequest {
            run_id: self.context.run_id.clone(),
            slot_id: slot.slot_id.clone(),
            attempt: slot.attempt,
            candidate_id: made.candidate.candidate_id.clone(),
            candidate: Some(made.candidate.clone()),
            verdicts: made.decision.verdicts.clone(),
            accepted: made.accepted(),
            rejected_by: made.rejected_by.clone(),
            error: made.error.clone(),
            embedding: made.embedding.clone(),
            source_image_id: slot.source_image_id.clone(),
            prompt_text: task.text.clone(),
            backend: task.backend.name.clone(),
        };
        let runs = &self.context.services.runs;
        let call = runs.call(request, |mut runs, request| async move {
            runs.settle_candidate(request).await
        });
        Ok(call
            .instrument(tracing::info_span!("settle"))
            .await?
            .settlement())
    }
}
