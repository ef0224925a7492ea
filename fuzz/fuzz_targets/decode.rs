//! Encoded images: what services decode under their limits, and what they then make of a picture.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{Corpus, fuzz_target};
use saga_fuzz::MAX_PIXELS;
use saga_imaging::{
    DecodeError, DecodeLimits, Filter, decode, grey, laplacian_variance, phash, resize_grey, ssim,
};
use saga_models::preprocess::{Config, Preprocessor};

/// What ViT and CLIP of the usual size take.
static PREPROCESSORS: LazyLock<[Preprocessor; 2]> = LazyLock::new(|| {
    let _ = std::panic::take_hook();
    [Config::vit(224), Config::clip(224)].map(|config| Preprocessor::new(config).expect("sizes"))
});

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let preprocessors = &*PREPROCESSORS;
    let limits = DecodeLimits {
        max_pixels: MAX_PIXELS,
        ..DecodeLimits::default()
    };
    let picture = match decode(bytes, &limits) {
        Ok(picture) => picture,
        Err(DecodeError::NotAnImage) => return Corpus::Reject,
        Err(error) => {
            // The image is refused all the same; what the decoder did wrong is worth knowing.
            assert!(
                !error.to_string().contains("its decoder gave up"),
                "{error}"
            );
            return Corpus::Keep;
        }
    };
    assert!(u64::from(picture.width()) * u64::from(picture.height()) <= MAX_PIXELS);
    for preprocessor in preprocessors {
        let pixels = preprocessor.pixel_values(&picture);
        assert!(pixels.len() == 3 * 224 * 224 && pixels.iter().all(|pixel| pixel.is_finite()));
    }
    let grey = grey(&picture);
    let (width, height) = grey.dimensions();
    let smaller = resize_grey(
        &grey,
        width.div_ceil(2),
        height.div_ceil(3),
        Filter::Bicubic,
    );
    let larger = resize_grey(&smaller, width, height, Filter::Lanczos3);
    if let Ok(score) = ssim(&grey, &larger) {
        assert!((-1.0..=1.0).contains(&score), "{score}");
    }
    let _ = phash(&grey);
    assert!(laplacian_variance(&grey) >= 0.0);
    Corpus::Keep
});
