//! CLIP embeddings, by which near-duplicates are told: of candidates, and, before the first of them, of the real images that may be
//! read.

use std::pin::pin;

use futures::TryStreamExt as _;
use saga_proto::{
    clip::v1::EmbedImageRequest,
    labelstore::v1::{AddEmbeddingsRequest, ImageEmbedding, ReadSplitRequest, Split},
    r#type::v1::Image,
};
use serde::{Deserialize, Serialize};
use tracing::Instrument as _;

use super::{
    RunContext, RunError, bounded, dataset, models, read, stage::Progress, training::Trained,
};
use crate::remote::RemoteError;

/// Name of the stage.
pub(super) const STAGE: &str = "embed";
/// Embeddings of one call; with 4,096 dimensions below the message limit.
const TOLD_AT_ONCE: usize = 200;

/// How many images were embedded.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Embedded {
    images: u64,
}

/// The image's embedding by the CLIP model of the run.
pub(crate) async fn embedding(
    context: &RunContext,
    image: Option<Image>,
) -> Result<Vec<f32>, RemoteError> {
    let request = EmbedImageRequest {
        image,
        model: models::CLIP.to_owned(),
    };
    let clip = &context.services.clip;
    let call = clip.call(request, |mut clip, request| async move {
        clip.embed_image(request).await
    });
    Ok(call
        .instrument(tracing::info_span!("embed"))
        .await?
        .embedding)
}

/// Tells the label store the embeddings of all real images but the golden ones.
pub(super) async fn real_images(
    context: &RunContext,
    clip: &Trained,
) -> Result<Embedded, RunError> {
    models::load_clip(context, clip).await?;
    let counts = dataset::counts(context).await?;
    let readable = |class: &saga_proto::labelstore::v1::ClassCounts| {
        u64::from(class.train + class.val + class.calibration)
    };
    let total = counts.iter().map(readable).sum();
    let (mut images, mut progress) = (0, Progress::new(STAGE));
    for split in [Split::Train, Split::Val, Split::Calibration] {
        let wanted = ReadSplitRequest {
            split: split.into(),
            ..ReadSplitRequest::default()
        };
        let rows = read::split(context, wanted).await?;
        let embedded = bounded::each(rows, |row| async move {
            Ok(ImageEmbedding {
                image_id: row.image_id,
                embedding: embedding(context, row.image).await?,
            })
        });
        let mut chunks = pin!(embedded.try_chunks(TOLD_AT_ONCE));
        while let Some(embeddings) = chunks.try_next().await.map_err(|stopped| stopped.1)? {
            images += embeddings.len() as u64;
            tell(context, embeddings).await?;
            context.events.emit(progress.at(images, total));
        }
    }
    Ok(Embedded { images })
}

async fn tell(context: &RunContext, embeddings: Vec<ImageEmbedding>) -> Result<(), RunError> {
    let request = AddEmbeddingsRequest {
        run_id: context.run_id.clone(),
        embeddings,
    };
    let runs = &context.services.runs;
    let call = runs.call(request, |mut runs, request| async move {
        runs.add_embeddings(request).await
    });
    call.await?;
    Ok(())
}
