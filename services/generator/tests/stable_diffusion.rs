//! Stable Diffusion over real gRPC on loopback, with a tiny pipeline of random weights.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Generator, jpeg};
use futures::{StreamExt as _, stream};
use generator::Config;
use saga_proto::generator::v1::generate_stream_response::Outcome as StreamOutcome;
use saga_proto::generator::v1::{
    CandidateSpec, GenerateStreamRequest, ListBackendsRequest, Outcome,
};
use saga_proto::r#type::v1::Image;
use std::path::PathBuf;
use tonic::Code;

/// Written by `fixtures/diffusion.py` of saga-models.
fn directory(name: &str) -> PathBuf {
    let models = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../lib/models/tests/fixtures/diffusion"
    );
    PathBuf::from(models).join(name)
}

async fn start(name: &str, max_batch: usize) -> Generator {
    let mut config = Config::default();
    let section = &mut config.stable_diffusion;
    section.directory = directory(name);
    (section.device, section.precision) = ("cpu".into(), "f32".into());
    (section.max_batch, section.size, section.steps) = (max_batch, 64, 4);
    Generator::start_with(config).await
}

fn spec(seed: u64, source: Option<Vec<u8>>, parameters: &[(&str, &str)]) -> CandidateSpec {
    let parameters = parameters.iter();
    CandidateSpec {
        backend: "stable-diffusion".to_owned(),
        source: source.map(|data| Image {
            data: data.into(),
            blake3: String::new(),
        }),
        target_label: "fear".to_owned(),
        prompt: "a photo of a fear face".to_owned(),
        seed,
        parameters: parameters
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..CandidateSpec::default()
    }
}

fn pixels(image: Option<Image>) -> image::RgbImage {
    image::load_from_memory(&image.unwrap().data)
        .unwrap()
        .to_rgb8()
}

#[tokio::test]
async fn it_is_listed_where_there_is_a_model() {
    for (directory, listed) in [
        (None, None),
        (Some("sd"), Some((false, true))),
        (Some("instruct"), Some((true, true))),
    ] {
        let mut generator = match directory {
            Some(name) => start(name, 1).await,
            None => Generator::start().await,
        };
        let answer = generator
            .client
            .list_backends(ListBackendsRequest {})
            .await
            .unwrap()
            .into_inner();
        let found = answer
            .backends
            .iter()
            .find(|backend| backend.name == "stable-diffusion");
        assert_eq!(
            found.map(|backend| (backend.needs_source, backend.deterministic)),
            listed
        );
        generator.stop().await;
    }
}

#[tokio::test]
async fn the_same_request_gives_the_same_bytes_of_text_and_of_source() {
    let mut generator = start("sd", 1).await;
    for (source, parameters, size) in [
        (
            None,
            &[("scheduler", "euler-a"), ("size", "96")][..],
            (96, 96),
        ),
        (
            Some(jpeg(0)),
            &[("strength", "0.5"), ("scheduler", "dpm++2m")],
            (64, 64),
        ),
        (None, &[], (64, 64)),
    ] {
        let request = spec(7, source.clone(), parameters);
        let first = generator.generate(request.clone()).await.unwrap();
        assert_eq!(first.outcome(), Outcome::Image, "{}", first.message);
        assert_eq!(
            first.image,
            generator.generate(request).await.unwrap().image
        );
        let other = generator
            .generate(spec(8, source, parameters))
            .await
            .unwrap();
        assert_ne!(first.image, other.image);
        assert_eq!(pixels(first.image).dimensions(), size);
        let provenance = first.provenance.unwrap();
        assert!(provenance.backend_version.starts_with("stable-diffusion-"));
        assert_eq!(provenance.parameters["steps"], "4");
        let scheduler = parameters.iter().find(|(name, _)| *name == "scheduler");
        let scheduler = scheduler.map_or("pndm", |(_, value)| *value);
        assert_eq!(provenance.parameters["scheduler"], scheduler);
    }
    generator.stop().await;
}

#[tokio::test]
async fn a_picture_does_not_depend_on_its_batch() {
    let mut generator = start("sd", 8).await;
    // Two settings, so that what waits together is more than one batch.
    let request = |seed: u64| {
        spec(
            seed,
            None,
            &[("steps", if seed.is_multiple_of(2) { "3" } else { "4" })],
        )
    };
    let items = (0..8).map(|seed| GenerateStreamRequest {
        sequence: seed,
        spec: Some(request(seed)),
    });
    let answers = generator
        .client
        .generate_stream(stream::iter(items.collect::<Vec<_>>()))
        .await
        .unwrap();
    let answers: Vec<_> = answers
        .into_inner()
        .map(|answer| answer.unwrap())
        .collect()
        .await;
    assert_eq!(answers.len(), 8);
    for answer in answers {
        let Some(StreamOutcome::Candidate(candidate)) = answer.outcome else {
            panic!("{:?}", answer.outcome);
        };
        let alone = generator.generate(request(answer.sequence)).await.unwrap();
        let (together, alone) = (pixels(candidate.image), pixels(alone.image));
        // Sums of another order may move a level, and JPEG that level a little further.
        let far = together
            .iter()
            .zip(alone.iter())
            .filter(|(a, b)| a.abs_diff(**b) > 4)
            .count();
        assert_eq!(far, 0, "seed {}", answer.sequence);
    }
    generator.stop().await;
}

#[tokio::test]
async fn edits_by_instruction_follow_a_source() {
    let mut generator = start("instruct", 1).await;
    let made = generator
        .generate(spec(1, Some(jpeg(0)), &[]))
        .await
        .unwrap();
    assert_eq!(made.outcome(), Outcome::Image, "{}", made.message);
    assert_eq!(made.provenance.unwrap().parameters["image_guidance"], "1.5");
    let error = generator.generate(spec(1, None, &[])).await.unwrap_err();
    assert!(error.message().starts_with("spec.source: "), "{error}");
    generator.stop().await;
}

#[tokio::test]
async fn what_cannot_be_met_is_refused_by_name() {
    let mut generator = start("sd", 1).await;
    let source = || Some(jpeg(0));
    for (source, parameter, value, words) in [
        (source(), "strength", "0", "0.01 to 1"),
        (source(), "strength", "1.5", "0.01 to 1"),
        (source(), "strength", "NaN", "0.01 to 1"),
        (source(), "strength", "0.2", "use more of either"),
        (None, "strength", "0.5", "is not a parameter"),
        (None, "steps", "0", "1 to 1000"),
        (None, "guidance", "-1", "0 to 100"),
        (None, "size", "100", "multiple of 8"),
        (None, "size", "4096", "64 to 2048"),
        (None, "scheduler", "heun", "pndm, ddim, euler-a, dpm++2m"),
        (None, "stepz", "4", "which has steps"),
    ] {
        let request = spec(1, source, &[(parameter, value)]);
        let error = generator.generate(request).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        let field = format!("spec.parameters[\"{parameter}\"]: ");
        assert!(error.message().starts_with(&field), "{error}");
        assert!(error.message().contains(words), "{error}");
    }
    let mut request = spec(1, None, &[]);
    request.prompt.clear();
    let error = generator.generate(request).await.unwrap_err();
    assert!(error.message().starts_with("spec.prompt: "), "{error}");
    let error = generator
        .generate(spec(1, Some(b"no image".to_vec()), &[]))
        .await
        .unwrap_err();
    assert!(error.message().starts_with("spec.source.data: "), "{error}");
    generator.stop().await;
}

#[tokio::test]
async fn a_directory_that_gives_no_pipeline_is_an_error_at_start() {
    let mut config = Config::default();
    config.server.listen = "127.0.0.1:0".parse().unwrap();
    config.stable_diffusion.directory = directory("nothing");
    let started = generator::start(config, Default::default()).await;
    let error = format!("{:#}", started.err().unwrap());
    assert!(
        error.contains("stable_diffusion.directory") && error.contains("model_index.json"),
        "{error}"
    );
}
