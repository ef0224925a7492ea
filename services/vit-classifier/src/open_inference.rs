//! The classifier for clients of the Open Inference Protocol: model `vit-classifier`, whose versions are the names that
//! models were loaded under.

use std::sync::Arc;

use futures::future::try_join_all;
use saga_chassis::status::not_found;
use saga_gate::Call;
use saga_serving::{
    Held,
    open_inference::{
        Datatype, Elements, ModelSpec, OpenInference, Tensor, TensorSpec, encoded_images,
        pixel_rows,
    },
};
use tonic::Status;

use crate::{
    model::{Classifier, Question},
    predictions::probabilities,
    service::Inference,
};

/// Name of the model.
const NAME: &str = "vit-classifier";

pub(crate) struct OpenClassifier {
    pub(crate) inference: Arc<Inference>,
    pub(crate) max_image_bytes: usize,
}

impl OpenClassifier {
    fn held(&self, version: &str) -> Result<Arc<Held<Classifier>>, Status> {
        self.inference.models.get(version)
    }

    async fn logits(
        &self,
        held: &Held<Classifier>,
        input: Tensor,
        call: Call,
    ) -> Result<Vec<Vec<f32>>, Status> {
        match input.elements {
            Elements::Bytes(files) => {
                let images = encoded_images(files, self.max_image_bytes)?;
                let answers = images.into_iter().map(|(field, image)| async move {
                    let answer = self.inference.classify(held, field, image, false, call);
                    let (answer, _) = answer.await?;
                    Ok(answer.logits)
                });
                try_join_all(answers).await
            }
            Elements::Fp32(pixels) => {
                let rows = pixel_rows(&pixels, &input.shape)?.into_iter();
                let questions = rows.map(|pixels| Question {
                    pixels,
                    with_features: false,
                });
                let answers = held.model.worker.submit_all(questions, call).await?;
                Ok(answers.into_iter().map(|answer| answer.logits).collect())
            }
            Elements::Int64(_) => Err(not_found("INPUT_UNKNOWN", "the model takes no INT64")),
        }
    }
}

impl OpenInference for OpenClassifier {
    fn versions(&self) -> Vec<String> {
        self.inference.models.names()
    }

    fn models(&self, version: &str) -> Result<Vec<ModelSpec>, Status> {
        let held = self.held(version)?;
        let (height, width) = held.model.input_size;
        let classes = held.model.labels.len() as i64;
        let output = |name| TensorSpec {
            name,
            datatype: Datatype::Fp32,
            shape: vec![-1, classes],
        };
        Ok(vec![ModelSpec {
            name: NAME,
            inputs: TensorSpec::images(height, width),
            outputs: vec![output("logits"), output("probabilities")],
        }])
    }

    async fn infer(
        &self,
        _: &'static str,
        version: &str,
        input: Tensor,
        call: Call,
    ) -> Result<(String, Vec<Tensor>), Status> {
        let held = self.held(version)?;
        let logits = self.logits(&held, input, call.waiting()).await?;
        let probabilities = logits.iter().map(|row| probabilities(row)).collect();
        let outputs = vec![
            Tensor::rows("logits", logits),
            Tensor::rows("probabilities", probabilities),
        ];
        Ok((held.version().name, outputs))
    }
}
