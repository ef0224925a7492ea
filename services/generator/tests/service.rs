//! The generator over real gRPC on loopback: what it makes, and what it says to bad input.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Generator, exemplar_spec, jpeg, studio_spec};
use futures::{StreamExt as _, stream};
use saga_proto::generator::v1::generate_stream_response::Outcome as StreamOutcome;
use saga_proto::generator::v1::{
    CandidateSpec, Fault, GenerateStreamRequest, ListBackendsRequest, Outcome, RenderDatasetRequest,
};
use saga_proto::r#type::v1::Image;
use tonic::Code;

#[tokio::test]
async fn backends_say_what_they_need() {
    let mut generator = Generator::start().await;
    let listed = generator
        .client
        .list_backends(ListBackendsRequest {})
        .await
        .unwrap()
        .into_inner()
        .backends;
    let needs: Vec<_> = listed
        .iter()
        .map(|b| {
            (
                b.name.as_str(),
                b.needs_source,
                b.exemplars,
                b.deterministic,
            )
        })
        .collect();
    assert_eq!(
        needs,
        [
            ("studio", true, 0, true),
            ("exemplar", true, 4, true),
            ("gemini", false, 0, false),
            ("local-diffusion", true, 0, true)
        ]
    );
    generator.stop().await;
}

#[tokio::test]
async fn the_same_request_gives_the_same_bytes_with_provenance() {
    let mut generator = Generator::start().await;
    for spec in [studio_spec(), exemplar_spec()] {
        let first = generator.generate(spec.clone()).await.unwrap();
        let again = generator.generate(spec.clone()).await.unwrap();
        assert_eq!(first.outcome(), Outcome::Image, "{}", first.message);
        assert_eq!(first.image, again.image);
        let image = first.image.unwrap();
        assert_eq!(image.blake3, saga_imaging::blake3_hex(&image.data));
        let provenance = first.provenance.unwrap();
        assert_eq!(
            (provenance.backend, provenance.seed, provenance.cost_usd),
            (spec.backend, spec.seed, 0.0)
        );
        assert_eq!(provenance.prompt, spec.prompt);
        assert_eq!(
            provenance.source_blake3,
            saga_imaging::blake3_hex(&spec.source.unwrap().data)
        );
        assert!(!provenance.backend_version.is_empty() && !provenance.parameters.is_empty());
        assert!(provenance.duration.is_some());
        assert_eq!(first.candidate_id, spec.candidate_id);
    }
    generator.stop().await;
}

#[tokio::test]
async fn the_studio_tells_the_truth_and_the_exemplar_editor_knows_none() {
    let mut generator = Generator::start().await;
    for (name, fault) in [("blurred", Fault::Blurred), ("two_faces", Fault::TwoFaces)] {
        let mut spec = studio_spec();
        let off = [
            "wrong_expression",
            "other_identity",
            "unchanged",
            "near_duplicate",
            "blurred",
            "two_faces",
        ];
        spec.parameters = off
            .map(|other| (other.to_owned(), u8::from(other == name).to_string()))
            .into();
        let candidate = generator.generate(spec).await.unwrap();
        assert_eq!(candidate.truth.unwrap().fault(), fault);
        assert_eq!(candidate.provenance.unwrap().parameters[name], "1");
    }
    assert_eq!(
        generator.generate(exemplar_spec()).await.unwrap().truth,
        None
    );
    generator.stop().await;
}

#[tokio::test]
async fn exemplars_that_do_not_align_are_an_outcome() {
    let mut generator = Generator::start().await;
    let mut spec = exemplar_spec();
    spec.parameters = [("min_correlation".to_owned(), "1".to_owned())].into();
    let candidate = generator.generate(spec).await.unwrap();
    assert_eq!(
        (candidate.outcome(), candidate.image),
        (Outcome::NoImage, None)
    );
    assert!(
        candidate.message.contains("2 exemplars"),
        "{}",
        candidate.message
    );
    generator.stop().await;
}

/// A broken request: the change, and the field and words that the answer must name.
type Broken = (fn(&mut CandidateSpec), &'static str, &'static str);

fn source(data: impl Into<Vec<u8>>) -> Option<Image> {
    Some(Image {
        data: data.into().into(),
        blake3: String::new(),
    })
}

const BROKEN: [Broken; 17] = [
    (|spec| spec.source = None, "spec.source", "missing"),
    (
        |spec| spec.source = source([]),
        "spec.source.data",
        "0 bytes",
    ),
    (
        |spec| spec.source = source(*b"a text named .jpg"),
        "spec.source.data",
        "not an image",
    ),
    (
        |spec| spec.source = source(&jpeg(0)[..300]),
        "spec.source.data",
        "truncated",
    ),
    (
        |spec| spec.source = source(common::png_that_declares(60_000)),
        "spec.source.data",
        "60000x60000",
    ),
    (
        |spec| spec.source.as_mut().unwrap().blake3 = "00".to_owned(),
        "spec.source.blake3",
        "does not match",
    ),
    (
        |spec| spec.exemplars.clear(),
        "spec.exemplars",
        "at least 1",
    ),
    (
        |spec| spec.exemplars = vec![source(jpeg(0)).unwrap(); 17],
        "spec.exemplars",
        "limit is 16",
    ),
    (
        |spec| spec.exemplars[1] = source([]).unwrap(),
        "spec.exemplars[1].data",
        "0 bytes",
    ),
    (
        |spec| spec.exemplars[1] = source(&jpeg(1)[..200]).unwrap(),
        "spec.exemplars[1].data",
        "truncated",
    ),
    (
        |spec| spec.backend = "dall-e".to_owned(),
        "spec.backend",
        "studio, exemplar, gemini",
    ),
    (
        |spec| spec.candidate_id = "x".repeat(129),
        "spec.candidate_id",
        "limit is 128",
    ),
    (
        |spec| spec.target_label.clear(),
        "spec.target_label",
        "is empty",
    ),
    (
        |spec| drop(spec.parameters.insert("strength".into(), "2".into())),
        "spec.parameters[\"strength\"]",
        "0 to 1",
    ),
    (
        |spec| drop(spec.parameters.insert("regions".into(), "ears".into())),
        "spec.parameters[\"regions\"]",
        "mouth, eyes, nose",
    ),
    (
        |spec| drop(spec.parameters.insert("strenght".into(), "1".into())),
        "spec.parameters[\"strenght\"]",
        "which has strength",
    ),
    (
        |spec| (spec.backend, spec.target_label) = ("studio".to_owned(), "boredom".to_owned()),
        "spec.target_label",
        "boredom",
    ),
];

#[tokio::test]
async fn bad_input_is_refused_with_the_field_and_what_to_do() {
    let mut generator = Generator::start().await;
    for (number, (damage, field, words)) in BROKEN.into_iter().enumerate() {
        let mut spec = exemplar_spec();
        damage(&mut spec);
        let error = generator.generate(spec).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{number}: {error}");
        assert!(
            error.message().starts_with(&format!("{field}: ")),
            "{number}: {}",
            error.message()
        );
        assert!(
            error.message().contains(words),
            "{number}: {}",
            error.message()
        );
    }
    let mut spec = studio_spec();
    spec.source = source(jpeg(0));
    let error = generator.generate(spec).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("no studio scene"), "{error}");
    let error = generator
        .client
        .generate(saga_proto::generator::v1::GenerateRequest { spec: None })
        .await
        .unwrap_err();
    assert!(error.message().starts_with("spec: is missing"), "{error}");
    generator.stop().await;
}

#[tokio::test]
async fn bad_items_do_not_end_a_stream() {
    let mut generator = Generator::start().await;
    let requests = (0..24_u64).map(|sequence| {
        let mut spec = if sequence % 2 == 0 {
            studio_spec()
        } else {
            exemplar_spec()
        };
        spec.seed = sequence;
        if sequence % 3 == 0 {
            spec.source = source(*b"broken");
        }
        GenerateStreamRequest {
            sequence,
            spec: Some(spec),
        }
    });
    let answers = generator
        .client
        .generate_stream(stream::iter(requests))
        .await
        .unwrap()
        .into_inner();
    let mut answers: Vec<_> = answers.map(|answer| answer.unwrap()).collect().await;
    answers.sort_by_key(|answer| answer.sequence);
    assert_eq!(answers.len(), 24);
    for (answer, sequence) in answers.iter().zip(0..) {
        assert_eq!(answer.sequence, sequence);
        match answer.outcome.as_ref().unwrap() {
            StreamOutcome::Candidate(_) => assert_ne!(sequence % 3, 0),
            StreamOutcome::Error(error) => {
                assert_eq!(sequence % 3, 0, "{}", error.message);
                assert_eq!(error.code, Code::InvalidArgument as i32);
                assert!(
                    error.message.starts_with("spec.source.data: ") && !error.details.is_empty()
                );
            }
        }
    }
    generator.stop().await;
}

#[tokio::test]
async fn a_dataset_is_rendered_in_order_and_the_studio_edits_it() {
    let mut generator = Generator::start().await;
    let request = RenderDatasetRequest {
        seed: 5,
        counts: [("fear".to_owned(), 3), ("sad".to_owned(), 2)].into(),
        size: 64,
    };
    let answers = generator
        .studio
        .render_dataset(request.clone())
        .await
        .unwrap()
        .into_inner();
    let images: Vec<_> = answers.map(|answer| answer.unwrap()).collect().await;
    assert_eq!(images.len(), 5);
    assert!(
        images
            .iter()
            .all(|image| image.total == 5 && image.path.starts_with(&image.label))
    );
    assert!(images.iter().all(|image| !image.subject.is_empty()));
    let mut spec = studio_spec();
    spec.source = images[0].image.clone();
    assert_eq!(
        generator.generate(spec).await.unwrap().outcome(),
        Outcome::Image
    );
    for (request, field) in [
        (
            RenderDatasetRequest {
                size: 63,
                ..request.clone()
            },
            "size",
        ),
        (
            RenderDatasetRequest {
                counts: [("bored".to_owned(), 1)].into(),
                ..request.clone()
            },
            "counts[\"bored\"]",
        ),
        (
            RenderDatasetRequest {
                counts: [("sad".to_owned(), u32::MAX)].into(),
                ..request
            },
            "counts",
        ),
    ] {
        let error = generator.studio.render_dataset(request).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(
            error.message().starts_with(&format!("{field}: ")),
            "{error}"
        );
    }
    generator.stop().await;
}
