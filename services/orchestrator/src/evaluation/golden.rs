//! The golden set: opened once, after every arm is trained, and every model judged on the same images.

use futures::{TryStreamExt as _, stream};
use saga_proto::{
    labelstore::v1::{ListGoldenReadsRequest, Row},
    model::v1::UnloadModelRequest,
};

use super::{
    judged::{EarlierRead, JudgedImage},
    trainings::TrainedArm,
};
use crate::run::{
    RunContext, RunError, bounded,
    judge::{self, Answer},
    models, read,
    stage::Progress,
};

/// Why an evaluation reads the golden set, as the label store records it.
const PURPOSE: &str = "evaluate arms";
/// Progress of judging.
pub(crate) const STAGE: &str = "golden";
/// The name under which one model after the other is loaded; it never gates.
const JUDGED: &str = "judged";

/// The golden images and who had read them before.
pub(crate) struct Golden {
    pub(crate) rows: Vec<Row>,
    pub(crate) earlier: Vec<EarlierRead>,
}

impl Golden {
    /// What is kept of the images, in their order.
    pub(crate) fn images(&self, context: &RunContext) -> Result<Vec<JudgedImage>, RunError> {
        let image = |row: &Row| {
            Ok(JudgedImage {
                id: row.image_id.clone(),
                subject: row.subject.clone(),
                truth: judge::truth(context, row)?,
            })
        };
        self.rows.iter().map(image).collect()
    }

    /// Whether an evaluation of this run had read them.
    pub(crate) fn read_again(&self, run_id: &str) -> bool {
        let again = |read: &EarlierRead| read.run_id == run_id && read.purpose == PURPOSE;
        self.earlier.iter().any(again)
    }
}

/// Reads the golden set, which the label store records.
pub(crate) async fn open(context: &RunContext) -> Result<Golden, RunError> {
    let earlier = earlier_reads(context).await?;
    let rows = read::golden(context, PURPOSE).await?;
    Ok(Golden {
        rows: rows.try_collect().await?,
        earlier,
    })
}

async fn earlier_reads(context: &RunContext) -> Result<Vec<EarlierRead>, RunError> {
    let request = ListGoldenReadsRequest {
        dataset_id: context.dataset_id.clone(),
    };
    let store = &context.services.golden;
    let listed = store.call(request, |mut store, request| async move {
        store.list_golden_reads(request).await
    });
    Ok(listed
        .await?
        .reads
        .into_iter()
        .map(EarlierRead::from)
        .collect())
}

/// Answers of every model of every arm: `[arm][seed][image]`.
pub(crate) async fn judge(
    context: &RunContext,
    golden: &Golden,
    arms: &[TrainedArm],
) -> Result<Vec<Vec<Vec<Answer>>>, RunError> {
    let total: usize = arms
        .iter()
        .map(|arm| arm.models.len() * golden.rows.len())
        .sum();
    let mut progress = Progress::new(STAGE);
    let (mut done, mut answers) = (0, Vec::with_capacity(arms.len()));
    for arm in arms {
        let mut of_arm = Vec::with_capacity(arm.models.len());
        for model in &arm.models {
            models::load_classifier(context, JUDGED, model).await?;
            // Bytes are shared, not copied.
            let rows = stream::iter(golden.rows.iter().cloned().map(Ok));
            let answers = bounded::each(rows, |row| async move {
                judge::answer(context, JUDGED, &row).await
            });
            let of_model: Vec<Answer> = answers.try_collect().await?;
            done += of_model.len() as u64;
            of_arm.push(of_model);
            context.events.emit(progress.at(done, total as u64));
        }
        answers.push(of_arm);
    }
    let request = UnloadModelRequest {
        name: JUDGED.into(),
    };
    let models = &context.services.classifier_models;
    let unloaded = models.call(request, |mut models, request| async move {
        models.unload_model(request).await
    });
    unloaded.await?;
    Ok(answers)
}
