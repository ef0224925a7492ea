//! `saga.classifier.v1.ExplainerService`: messages to explanations and back.

use std::{iter::Enumerate, path::PathBuf, sync::Arc, vec};

use futures::stream::{BoxStream, StreamExt as _, unfold};
use saga_chassis::{
    WorkMetrics,
    status::{self, internal, invalid_argument},
};
use saga_explain::{MAX_SAMPLES, Method};
use saga_gate::{Call, check_image};
use saga_models::tch::Device;
use saga_proto::{
    classifier::v1::{
        ExplainRequest, ExplainResponse, Explanation, ExplanationMap, ExplanationMethod,
        FaithfulnessCurves, explain_response::Outcome, explainer_service_server::ExplainerService,
    },
    r#type::v1::Image,
};
use saga_serving::Held;
use tonic::{Code, Request, Response, Status};
use tracing::{Instrument as _, Span};

use crate::{
    explainer::{Asked, Explained, ExplainedMap, Explainer},
    means::Means,
    model::Classifier,
    service::Inference,
};

/// Most images of one request.
const MAX_IMAGES: usize = 256;

/// Fewest pictures with hidden regions.
const MIN_SAMPLES: usize = 16;

/// The service.
pub(crate) struct Explain {
    pub(crate) inference: Arc<Inference>,
    pub(crate) metrics: WorkMetrics,
    pub(crate) device: Device,
    pub(crate) max_image_bytes: usize,
}

impl Explain {
    async fn explainer<'a>(&self, held: &'a Held<Classifier>) -> Result<&'a Explainer, Status> {
        let start = || {
            Explainer::start(
                self.metrics.clone(),
                PathBuf::from(&held.info.directory),
                held.version().revision,
                self.device,
            )
        };
        held.model.explainer.get_or_try_init(start).await
    }
}

#[tonic::async_trait]
impl ExplainerService for Explain {
    type ExplainStream = BoxStream<'static, Result<ExplainResponse, Status>>;

    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<Self::ExplainStream>, Status> {
        let call = Call::stream(request.metadata())?;
        let request = request.into_inner();
        let held = self.inference.models.get(&request.model)?;
        let methods = methods(&request.methods)?;
        let asked = Asked {
            class: class(&request.label, &held.model.labels)?,
            samples: samples(request.samples)?,
            seed: request.seed,
            with_overlays: request.with_overlays,
            with_curves: request.with_curves,
            methods: methods.iter().map(|&(_, method)| method).collect(),
        };
        let images = request.images.len();
        if !(1..=MAX_IMAGES).contains(&images) {
            let why = format!("are {images}; send 1 to {MAX_IMAGES}");
            return Err(invalid_argument("images", why));
        }
        let explainer = self.explainer(&held).await?;
        if !explainer.attends && asked.methods.contains(&Method::AttentionRollout) {
            let why =
                "name attention rollout, and the model has no attention; choose another method";
            return Err(invalid_argument("methods", why));
        }
        let work = Work {
            inference: Arc::clone(&self.inference),
            held,
            names: methods.into_iter().map(|(name, _)| name).collect(),
            asked,
            call,
            max_image_bytes: self.max_image_bytes,
            images: request.images.into_iter().enumerate(),
            means: None,
        };
        let span = Span::current();
        let answers = unfold(work, move |mut work| {
            let next = async move { Some((work.next().await?, work)) };
            next.instrument(span.clone())
        });
        Ok(Response::new(answers.boxed()))
    }
}

/// What is left to do of a request. Dropping it stops what is under way.
struct Work {
    inference: Arc<Inference>,
    held: Arc<Held<Classifier>>,
    names: Vec<ExplanationMethod>,
    asked: Asked,
    call: Call,
    max_image_bytes: usize,
    images: Enumerate<vec::IntoIter<Image>>,
    means: Option<Means>,
}

impl Work {
    /// The answer for the next image, or after the last one the means; an error ends the stream.
    async fn next(&mut self) -> Option<Result<ExplainResponse, Status>> {
        if let Some((index, image)) = self.images.next() {
            let outcome = match self.one(index, image).await {
                Ok(explained) => {
                    let message = self.message(&explained, 1);
                    match &mut self.means {
                        Some(means) => means.add(&explained),
                        none => *none = Some(Means::of(explained)),
                    }
                    Outcome::Explanation(message)
                }
                Err(error) if error.code() == Code::DeadlineExceeded => {
                    self.images = Vec::new().into_iter().enumerate();
                    self.means = None;
                    return Some(Err(error));
                }
                Err(error) => Outcome::Error(status::item(&error)),
            };
            return Some(Ok(ExplainResponse {
                index: Some(index as u32),
                outcome: Some(outcome),
            }));
        }
        let means = self.means.take().filter(|means| means.count() > 1)?;
        let count = means.count();
        let mean = means.finish().map(|mean| self.message(&mean, count));
        let mean = mean.map_err(|error| internal("EXPLANATION_FAILED", error.to_string()));
        Some(mean.map(|mean| ExplainResponse {
            index: None,
            outcome: Some(Outcome::Explanation(mean)),
        }))
    }

    async fn one(&self, index: usize, image: Image) -> Result<Explained, Status> {
        let field = format!("images[{index}]");
        let image = check_image(&field, Some(image), self.max_image_bytes)?;
        let preprocess = Arc::clone(&self.held.model.preprocess);
        let call = self.call.arriving();
        let decoding = &self.inference.decoding;
        let decoded = decoding.pixels(field, image, preprocess, call).await?;
        let explainer = self.held.model.explainer.get();
        let explainer =
            explainer.ok_or_else(|| internal("EXPLAINER_LOST", "it was not started"))?;
        explainer
            .explain(decoded.pixels, self.asked.clone(), call)
            .await
    }

    fn message(&self, explained: &Explained, images: u32) -> Explanation {
        let label = explained
            .class
            .and_then(|class| self.held.model.labels.get(class));
        let map = |(&name, one): (&ExplanationMethod, &ExplainedMap)| {
            let curves = one.curves.as_ref().map(|curves| FaithfulnessCurves {
                deletion: curves.deletion.0.clone(),
                insertion: curves.insertion.0.clone(),
                deletion_area: curves.deletion.area(),
                insertion_area: curves.insertion.area(),
            });
            ExplanationMap {
                method: name.into(),
                height: one.map.height as u32,
                width: one.map.width as u32,
                values: one.map.values.clone(),
                overlay: one.overlay.clone().into(),
                curves,
            }
        };
        Explanation {
            label: label.cloned().unwrap_or_default(),
            probability: explained.probability.into(),
            images,
            maps: self.names.iter().zip(&explained.maps).map(map).collect(),
            model: Some(self.held.version()),
        }
    }
}

/// The methods that were named, each once.
fn methods(named: &[i32]) -> Result<Vec<(ExplanationMethod, Method)>, Status> {
    let refused = |why: String| Err(invalid_argument("methods", why));
    let mut found: Vec<(ExplanationMethod, Method)> = Vec::with_capacity(named.len());
    for &number in named {
        let name = ExplanationMethod::try_from(number).unwrap_or_default();
        let method = match name {
            ExplanationMethod::Unspecified => {
                return refused(format!("name {number}, which is none; 1 to 5 are"));
            }
            ExplanationMethod::GradCam => Method::GradCam,
            ExplanationMethod::GradCamPlusPlus => Method::GradCamPlusPlus,
            ExplanationMethod::AttentionRollout => Method::AttentionRollout,
            ExplanationMethod::KernelShap => Method::KernelShap,
            ExplanationMethod::Lime => Method::Lime,
        };
        if found.iter().any(|&(earlier, _)| earlier == name) {
            return refused(format!("name {} twice", name.as_str_name()));
        }
        found.push((name, method));
    }
    if found.is_empty() {
        return refused("are none; name at least one".to_owned());
    }
    Ok(found)
}

/// The index of `label`; none where it is empty.
fn class(label: &str, labels: &[String]) -> Result<Option<usize>, Status> {
    if label.is_empty() {
        return Ok(None);
    }
    let found = labels.iter().position(|known| known == label);
    let unknown = || {
        let why = format!("is {label:?}; the model knows: {}", labels.join(", "));
        invalid_argument("label", why)
    };
    found.map(Some).ok_or_else(unknown)
}

fn samples(asked: u32) -> Result<Option<usize>, Status> {
    match asked as usize {
        0 => Ok(None),
        samples @ MIN_SAMPLES..=MAX_SAMPLES => Ok(Some(samples)),
        samples => {
            let why =
                format!("are {samples}; 0 or {MIN_SAMPLES} to {MAX_SAMPLES} may be asked for");
            Err(invalid_argument("samples", why))
        }
    }
}
