//! `ClassifierService.Classify` and `ClassifyStream`.

#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use saga_fuzz::{
    MOST_ITEMS,
    image::Image,
    service::{Service, blame},
    text::Model,
};
use saga_proto::classifier::v1::{
    ClassifyRequest, ClassifyStreamRequest, classifier_service_client::ClassifierServiceClient,
    classify_stream_response::Outcome,
};
use tonic::Code;

static SERVICE: LazyLock<Service> = LazyLock::new(Service::vit_classifier);

#[derive(Debug, Arbitrary)]
struct Classify {
    image: Option<Image>,
    model: Model,
    top_k: u32,
    threshold: Threshold,
}

#[derive(Debug, Arbitrary)]
enum Threshold {
    None,
    Percent(u8),
    Any(f64),
}

#[derive(Debug, Arbitrary)]
enum Call {
    Unary(Classify),
    Stream(Vec<Option<Classify>>),
}

impl From<Classify> for ClassifyRequest {
    fn from(classify: Classify) -> Self {
        Self {
            image: classify.image.map(Into::into),
            model: classify.model.into(),
            top_k: classify.top_k,
            with_features: false,
            threshold: match classify.threshold {
                Threshold::None => 0.0,
                Threshold::Percent(percent) => f64::from(percent) / 100.0,
                Threshold::Any(threshold) => threshold,
            },
        }
    }
}

fuzz_target!(|call: Call| match call {
    Call::Unary(classify) => {
        let request = ClassifyRequest::from(classify);
        let ask = async |routes| ClassifierServiceClient::new(routes).classify(request).await;
        if let Some(answer) = SERVICE.ask(ask) {
            let probabilities = answer.predictions.iter().map(|each| each.probability);
            assert!(probabilities.is_sorted_by(|a, b| a >= b));
        }
    }
    Call::Stream(items) => {
        let numbered = items
            .into_iter()
            .take(MOST_ITEMS)
            .zip(0..)
            .map(|(item, sequence)| ClassifyStreamRequest {
                sequence,
                request: item.map(Into::into),
            });
        let requests: Vec<_> = numbered.collect();
        let (sent, requests) = (requests.len(), tokio_stream::iter(requests));
        let ask = async |routes| {
            ClassifierServiceClient::new(routes)
                .classify_stream(requests)
                .await
        };
        let answers = SERVICE
            .ask(ask)
            .map(|answers| SERVICE.collect(answers))
            .expect("a stream");
        assert_eq!(answers.len(), sent);
        for answer in answers {
            match answer.outcome.expect("an answer") {
                Outcome::Response(_) => {}
                Outcome::Error(error) => blame(Code::from(error.code), &error.message),
            }
        }
    }
});
