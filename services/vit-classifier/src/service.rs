//! From an encoded image to the logits of every label: decode, batch, compute.

use std::{borrow::Cow, sync::Arc};

use saga_gate::{Call, EncodedImage};
use saga_proto::r#type::v1::Timing;
use saga_serving::{Decoded, Decoding, Held, Registry, timing};
use tonic::Status;

use crate::model::{Classifier, VitLoader};

/// What the gate and the classifier service share.
pub(crate) struct Inference {
    pub(crate) models: Arc<Registry<VitLoader>>,
    pub(crate) decoding: Decoding,
}

impl Inference {
    /// Logits in label order of the image that came in the message field `field`.
    pub(crate) async fn classify(
        &self,
        held: &Held<Classifier>,
        field: impl Into<Cow<'static, str>>,
        image: EncodedImage,
        call: Call,
    ) -> Result<(Vec<f32>, Timing), Status> {
        let preprocess = Arc::clone(&held.model.preprocess);
        let Decoded {
            pixels,
            queue,
            decode,
        } = self.decoding.pixels(field, image, preprocess, call).await?;
        let batched = held.model.worker.submit(pixels, call).await?;
        let timing = timing(queue, decode, &batched);
        Ok((batched.output, timing))
    }
}
