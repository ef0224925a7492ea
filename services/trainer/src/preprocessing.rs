//! How images reach a model: as the checkpoint that it starts from says, else by the custom of its kind.

use saga_models::{
    Checkpoint, ModelError,
    preprocess::{Config, Preprocessor, Size},
};

use crate::{
    error::TrainError,
    pixels,
    request::{Job, Kind},
};

/// Of a job's model: what trains it, and what its directory tells a service to do. A checkpoint's is taken to the side of the
/// request as timm does it: statistics, interpolation and the share that a crop keeps stay.
///
/// # Errors
/// [`TrainError::InvalidField`] for a checkpoint whose preprocessing cannot be followed exactly, or makes images that are not square.
pub fn of(job: &Job) -> Result<Config, TrainError> {
    let side = job.architecture.image_size;
    // A diffusers directory states none.
    let checkpoint = job.init_from.as_deref();
    let Some(directory) = checkpoint.filter(|_| job.kind != Kind::Diffusion) else {
        return Ok(customary(job.kind, side));
    };
    let refused = |error: ModelError| {
        let why = format!(
            "{} has no preprocessing that can be followed: {error}",
            directory.display()
        );
        TrainError::field("init_from", why)
    };
    let stated = Checkpoint::preprocessing(directory).map_err(refused)?;
    let Some(config) = stated else {
        return Ok(customary(job.kind, side));
    };
    pixels::statistics(&config).map_err(refused)?;
    let output = |config: &Config| {
        let preprocessor = Preprocessor::new(config.clone()).map_err(refused)?;
        Ok::<_, TrainError>(preprocessor.output_size())
    };
    let (height, width) = output(&config)?;
    let config = scaled(config, f64::from(side) / f64::from(height.max(1)));
    if output(&config)? != (side, side) {
        let why = format!(
            "{} prepares images of {height} x {width} pixels, and models are trained on square ones; state a square size in the \
             preprocessor_config.json of a copy",
            directory.display()
        );
        return Err(TrainError::field("init_from", why));
    }
    Ok(config)
}

/// Every length times a factor.
fn scaled(config: Config, factor: f64) -> Config {
    let length = |length: u32| (f64::from(length) * factor).round() as u32;
    let size = |size| match size {
        Size::Exact { height, width } => Size::Exact {
            height: length(height),
            width: length(width),
        },
        Size::ShortestEdge { shortest_edge } => Size::ShortestEdge {
            shortest_edge: length(shortest_edge),
        },
        Size::Side(side) => Size::Side(length(side)),
    };
    Config {
        size: size(config.size),
        crop_size: config.crop_size.map(size),
        ..config
    }
}

/// Where no checkpoint says: squashed to the side for classifiers and diffusion, CLIP's own for CLIP.
pub fn customary(kind: Kind, side: u32) -> Config {
    match kind {
        Kind::VitClassifier | Kind::ResnetClassifier | Kind::Diffusion => Config::vit(side),
        Kind::Clip => Config::clip(side),
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use saga_imaging::RgbImage;
    use tch::{Device, Kind as Element, Tensor};

    use super::*;
    use crate::{pixels::Normaliser, request};

    fn job(kind: Kind, directory: &Path, side: u32) -> Job {
        let mut job = Job {
            kind,
            init_from: Some(directory.to_owned()),
            ..request::tests::job()
        };
        job.architecture.image_size = side;
        job
    }

    /// A checkpoint directory that nothing but its preprocessing is read of.
    fn stating(config: &Config) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        config.write(folder.path()).unwrap();
        folder
    }

    /// Shortest edge, bicubic, ImageNet's statistics.
    fn imagenet(side: u32) -> Config {
        Config {
            image_mean: vec![0.485, 0.456, 0.406],
            image_std: vec![0.229, 0.224, 0.225],
            ..Config::clip(side)
        }
    }

    #[test]
    fn a_checkpoint_s_preprocessing_feeds_training_what_serving_computes() {
        let picture = RgbImage::from_fn(40, 30, |x, y| {
            image::Rgb([(x * 6) as u8, (y * 8) as u8, (x * y) as u8])
        });
        let plain = Config {
            do_normalize: false,
            ..imagenet(16)
        };
        let bytes = Config {
            do_rescale: false,
            image_mean: vec![120.0; 3],
            image_std: vec![60.0; 3],
            ..imagenet(16)
        };
        let around_zero = Config {
            rescale_factor: 1.0 / 127.5,
            image_mean: vec![1.0; 3],
            image_std: vec![1.0; 3],
            ..imagenet(16)
        };
        for stated in [imagenet(16), plain, bytes, around_zero] {
            let folder = stating(&stated);
            let config = of(&job(Kind::ResnetClassifier, folder.path(), 16)).unwrap();
            assert_eq!(config, stated);
            let served = Preprocessor::new(config.clone())
                .unwrap()
                .pixel_values(&picture);
            let prepared = pixels::prepare(config.clone()).unwrap()(&picture);
            let images = Tensor::from_slice(&prepared).view([1, 3, 16, 16]);
            let images = images.to_kind(Element::Float) / 255.0;
            let normaliser = Normaliser::new(&config, Device::Cpu).unwrap();
            let trained = normaliser.normalise(&images).unwrap().view([-1]);
            let difference = (trained - Tensor::from_slice(&served)).abs().max();
            assert!(difference.double_value(&[]) < 1e-5, "{stated:?}");
        }
    }

    #[test]
    fn what_states_nothing_is_prepared_as_its_kind_is() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("config.json"),
            r#"{"model_type": "vit"}"#,
        )
        .unwrap();
        for kind in [Kind::VitClassifier, Kind::Clip] {
            let config = of(&job(kind, folder.path(), 32)).unwrap();
            assert_eq!(config, customary(kind, 32));
        }
        // Nor is anything read for a diffusion model.
        let absent = PathBuf::from("/no/such/folder");
        let config = of(&job(Kind::Diffusion, &absent, 32)).unwrap();
        assert_eq!(config, Config::vit(32));
    }

    #[test]
    fn lengths_follow_the_side_of_the_request() {
        let edge = |shortest_edge| Size::ShortestEdge { shortest_edge };
        let torchvision = Config {
            size: edge(256),
            ..imagenet(224)
        };
        let folder = stating(&torchvision);
        let of = |side| of(&job(Kind::ResnetClassifier, folder.path(), side)).unwrap();
        assert_eq!(of(224), torchvision);
        let small = Config {
            size: edge(73),
            ..imagenet(64)
        };
        assert_eq!(of(64), small);
    }

    #[test]
    fn what_cannot_be_followed_is_refused_by_name() {
        let refused = |config: Config| {
            let folder = stating(&config);
            let refused = of(&job(Kind::VitClassifier, folder.path(), 32));
            refused.unwrap_err().to_string()
        };
        let oblong = Config {
            size: Size::Exact {
                height: 32,
                width: 40,
            },
            ..Config::vit(32)
        };
        let said = refused(oblong);
        assert!(said.starts_with("init_from: "), "{said}");
        assert!(said.contains("32 x 40 pixels, and models are trained on square ones"));
        let nearest = Config {
            resample: 0,
            ..imagenet(32)
        };
        assert!(refused(nearest).contains("resample"));
        let constant = Config {
            rescale_factor: 0.0,
            ..imagenet(32)
        };
        assert!(refused(constant).contains("rescale_factor"));
        let absent = of(&job(Kind::Clip, Path::new("/no/such/folder"), 32));
        let said = absent.unwrap_err().to_string();
        assert!(said.starts_with("init_from: /no/such/folder"), "{said}");
    }
}
