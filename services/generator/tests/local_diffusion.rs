//! The local diffusion model over real gRPC on loopback, with tiny random weights.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Generator, jpeg};
use generator::Config;
use saga_models::diffusion::neighbours::{ImageName, Neighbours};
use saga_proto::generator::v1::{CandidateSpec, Outcome};
use saga_proto::model::v1::model_service_client::ModelServiceClient;
use saga_proto::model::v1::{ListModelsRequest, LoadModelRequest};
use saga_proto::r#type::v1::Image;
use std::path::Path;
use tonic::Code;

/// The model that `fixtures/diffusion.py` of saga-models wrote, trained on drawn faces as far as it knows.
fn directory() -> tempfile::TempDir {
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../lib/models/tests/fixtures/diffusion/class-conditional"
    );
    let dir = tempfile::tempdir().unwrap();
    for file in [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ] {
        let to = dir.path().join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(Path::new(fixture).join(file), to).unwrap();
    }
    let files: Vec<Vec<u8>> = (0..3).map(jpeg).collect();
    let names = files.iter().enumerate().map(|(mood, file)| ImageName {
        image_id: format!("face-{mood}"),
        blake3: saga_imaging::blake3_hex(file),
    });
    let limits = saga_imaging::DecodeLimits::default();
    let pictures: Vec<_> = files
        .iter()
        .map(|file| saga_imaging::decode(file, &limits).unwrap())
        .collect();
    let neighbours = Neighbours::new(names.collect(), pictures.iter()).unwrap();
    neighbours.write(dir.path()).unwrap();
    dir
}

async fn start(directory: &Path) -> Generator {
    let mut config = Config::default();
    let section = &mut config.local_diffusion;
    section.directory = directory.to_path_buf();
    (section.device, section.precision) = ("cpu".into(), "f32".into());
    (section.steps, section.strength) = (10, 0.6);
    Generator::start_with(config).await
}

fn spec(seed: u64, parameters: &[(&str, &str)]) -> CandidateSpec {
    let parameters = parameters.iter();
    CandidateSpec {
        backend: "local-diffusion".to_owned(),
        source: Some(Image {
            data: jpeg(0).into(),
            blake3: String::new(),
        }),
        target_label: "fear".to_owned(),
        seed,
        parameters: parameters
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..CandidateSpec::default()
    }
}

fn pixels(image: Option<Image>) -> image::RgbImage {
    let data = image.unwrap().data;
    image::load_from_memory(&data).unwrap().to_rgb8()
}

#[tokio::test]
async fn edits_are_of_the_sources_size_and_depend_on_seed_and_class_alone() {
    let dir = directory();
    let mut generator = start(dir.path()).await;
    let first = generator.generate(spec(7, &[])).await.unwrap();
    assert_eq!(first.outcome(), Outcome::Image, "{}", first.message);
    let mut others = Vec::new();
    for (request, same) in [
        (spec(7, &[]), true),
        (spec(8, &[]), false),
        (
            CandidateSpec {
                target_label: "joy".to_owned(),
                ..spec(7, &[])
            },
            false,
        ),
        (
            CandidateSpec {
                prompt: "is not read".to_owned(),
                ..spec(7, &[])
            },
            true,
        ),
    ] {
        others.push((generator.generate(request).await.unwrap().image, same));
    }
    for (image, same) in others {
        assert_eq!(image == first.image, same);
    }
    let provenance = first.provenance.unwrap();
    assert!(provenance.backend_version.starts_with("local-diffusion-"));
    assert_eq!(provenance.parameters["strength"], "0.6");
    let picture = pixels(first.image);
    assert_eq!(picture.dimensions(), (112, 112));
    assert!(saga_imaging::is_grey(&picture), "a grey source stays grey");
    generator.stop().await;
}

#[tokio::test]
async fn the_nearest_training_image_is_another_than_the_source() {
    let dir = directory();
    let mut generator = start(dir.path()).await;
    // Hardly an edit: nearest would be the source itself.
    let made = generator.generate(spec(1, &[("strength", "0.1")])).await;
    let noted = made.unwrap().provenance.unwrap().parameters;
    assert!(
        ["face-1", "face-2"].contains(&noted["nearest_train_image"].as_str()),
        "{noted:?}"
    );
    assert!(noted["nearest_train_distance"].parse::<f64>().unwrap() > 0.0);
    let share: f64 = noted["nearest_train_share"].parse().unwrap();
    assert!((0.0..=1.0).contains(&share));
    generator.stop().await;
}

#[tokio::test]
async fn what_cannot_be_met_is_refused_by_name() {
    let dir = directory();
    let mut generator = start(dir.path()).await;
    for (parameter, value, words) in [
        ("strength", "0", "0.01 to 1"),
        ("strength", "1.5", "0.01 to 1"),
        ("strength", "NaN", "0.01 to 1"),
        ("strength", "0.05", "use more of either"),
        ("steps", "0", "1 to 1000"),
        ("guidance", "-1", "0 to 100"),
        ("detail", "2", "0 to 1"),
        ("scheduler", "ddim", "which has steps"),
    ] {
        let error = generator.generate(spec(1, &[(parameter, value)])).await;
        let error = error.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        let field = format!("spec.parameters[\"{parameter}\"]: ");
        assert!(error.message().starts_with(&field), "{error}");
        assert!(error.message().contains(words), "{error}");
    }
    let mut unknown = spec(1, &[]);
    unknown.target_label = "anger".to_owned();
    let error = generator.generate(unknown).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("joy, fear, calm"), "{error}");
    let mut without = spec(1, &[]);
    without.source = None;
    let error = generator.generate(without).await.unwrap_err();
    assert!(error.message().starts_with("spec.source: "), "{error}");
    generator.stop().await;
}

#[tokio::test]
async fn without_a_model_it_says_so_until_one_is_loaded() {
    let mut generator = start(Path::new("")).await;
    let error = generator.generate(spec(1, &[])).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    assert!(error.message().contains("LoadModel"), "{error}");
    let dir = directory();
    let mut models = ModelServiceClient::new(generator.transport.clone());
    let load = |directory: &Path| LoadModelRequest {
        name: "diffusion".to_owned(),
        directory: directory.display().to_string(),
        make_default: true,
    };
    let error = models.load_model(load(Path::new("/nothing"))).await;
    assert_eq!(error.unwrap_err().code(), Code::InvalidArgument);
    models.load_model(load(dir.path())).await.unwrap();
    let listed = models.list_models(ListModelsRequest {}).await.unwrap();
    assert_eq!(
        listed.into_inner().models[0].labels,
        ["joy", "fear", "calm"]
    );
    generator.generate(spec(1, &[])).await.unwrap();
    let named = |name| spec(1, &[("model", name)]);
    let made = generator.generate(named("diffusion")).await.unwrap();
    assert_eq!(made.provenance.unwrap().parameters["model"], "diffusion");
    // Another than the one in service is no substitute.
    let error = generator.generate(named("mine")).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    assert!(error.message().contains("loaded are: diffusion"), "{error}");
    drop(models);
    generator.stop().await;
}
