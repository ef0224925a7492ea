//! From an encoded image to the logits of every label and the features they come from: decode, batch, compute.

use std::{borrow::Cow, sync::Arc};

use saga_gate::{Call, EncodedImage};
use saga_proto::r#type::v1::Timing;
use saga_serving::{Decoded, Decoding, Held, Registry, timing};
use tonic::Status;

use crate::model::{Answer, Classifier, Question, VitLoader};

/// What the gate and the classifier service share.
pub(crate) struct Inference {
    pub(crate) models: Arc<Registry<VitLoader>>,
    pub(crate) decoding: Decoding,
}

impl Inference {
    /// What the model makes of the image that came in the message field `field`.
    pub(crate) async fn classify(
        &self,
        held: &Held<Classifier>,
        field: impl Into<Cow<'static, str>>,
        image: EncodedImage,
        with_features: bool,
        call: Call,
    ) -> Result<(Answer, Timing), Status> {
        held.model.worker.admit(call)?;
        let preprocess = Arc::clone(&held.model.preprocess);
        let Decoded {
            pixels,
            queue,
            decode,
        } = self.decoding.pixels(field, image, preprocess, call).await?;
        let question = Question {
            pixels,
            with_features,
        };
        let batched = held.model.worker.submit(question, call).await?;
        let timing = timing(queue, decode, &batched);
        Ok((batched.output, timing))
    }
}
