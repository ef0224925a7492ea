//! Decoding a pair and comparing it: all that happens on a worker thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use saga_gate::EncodedImage;
use saga_imaging::{
    DecodeError, DecodeLimits, Filter, GrayImage, SSIM_WINDOW, SsimError, decode, grey,
    resize_grey, ssim, ssim_map,
};

use crate::source_cache::SourceCache;

/// Which image of the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one whose size counts.
    Source,
    /// The one that is resized to it.
    Candidate,
}

/// Why a pair cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// One of the images does not decode.
    #[error("{error}")]
    Decode {
        /// Which one.
        which: Which,
        /// Why.
        error: DecodeError,
    },
    /// The source is smaller than SSIM's window.
    #[error("has {width}x{height} pixels; SSIM needs at least {SSIM_WINDOW} a side")]
    SourceTooSmall {
        /// The source's width.
        width: u32,
        /// The source's height.
        height: u32,
    },
    /// A fault of this program.
    #[error("{0}")]
    Ssim(SsimError),
}

/// A score and where its time went.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// -1 to 1.
    pub ssim: f64,
    /// Of every window, where asked for.
    pub map: Vec<f32>,
    /// The source's size, at which the two were compared.
    pub size: (u32, u32),
    /// Decoding, greying and resizing.
    pub decode: Duration,
    /// SSIM itself.
    pub compute: Duration,
}

/// Compares pairs; worker threads share one.
#[derive(Debug)]
pub struct Comparer {
    limits: DecodeLimits,
    sources: SourceCache,
}

impl Comparer {
    /// Compares images within `limits`, keeping up to `cache_bytes` of decoded sources.
    #[must_use]
    pub fn new(limits: DecodeLimits, cache_bytes: usize) -> Self {
        Self {
            limits,
            sources: SourceCache::new(cache_bytes),
        }
    }

    /// SSIM on grey at the source's size.
    ///
    /// # Errors
    /// [`CompareError`].
    pub fn compare(
        &self,
        source: &EncodedImage,
        candidate: &EncodedImage,
        with_map: bool,
    ) -> Result<Comparison, CompareError> {
        let started = Instant::now();
        let source = self.source(source)?;
        let size @ (width, height) = source.dimensions();
        if width.min(height) < SSIM_WINDOW {
            return Err(CompareError::SourceTooSmall { width, height });
        }
        let candidate = self.decode(candidate, Which::Candidate)?;
        let candidate = if candidate.dimensions() == size {
            candidate
        } else {
            resize_grey(&candidate, width, height, Filter::Bicubic)
        };
        let decode = started.elapsed();
        let compared = match with_map {
            true => ssim_map(&source, &candidate),
            false => ssim(&source, &candidate).map(|mean| (mean, Vec::new())),
        };
        let (ssim, map) = compared.map_err(CompareError::Ssim)?;
        Ok(Comparison {
            ssim,
            map,
            size,
            decode,
            compute: started.elapsed() - decode,
        })
    }

    fn source(&self, encoded: &EncodedImage) -> Result<Arc<GrayImage>, CompareError> {
        if let Some(cached) = self.sources.get(&encoded.blake3) {
            return Ok(cached);
        }
        let decoded = Arc::new(self.decode(encoded, Which::Source)?);
        self.sources
            .insert(encoded.blake3.clone(), Arc::clone(&decoded));
        Ok(decoded)
    }

    fn decode(&self, encoded: &EncodedImage, which: Which) -> Result<GrayImage, CompareError> {
        let picture = decode(&encoded.data, &self.limits)
            .map_err(|error| CompareError::Decode { which, error })?;
        Ok(grey(&picture))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use saga_imaging::{Rgb, RgbImage, blake3_hex, encode_jpeg, resize};

    fn encoded(picture: &RgbImage) -> EncodedImage {
        let data = encode_jpeg(picture, 95).unwrap();
        EncodedImage {
            blake3: blake3_hex(&data),
            data: data.into(),
        }
    }

    fn scene() -> RgbImage {
        RgbImage::from_fn(48, 32, |x, y| {
            Rgb([
                (x * 5) as u8,
                (y * 8) as u8,
                ((x / 8 + y / 8) % 2 * 200) as u8,
            ])
        })
    }

    #[test]
    fn the_sources_size_counts_and_its_decoding_is_kept() {
        let comparer = Comparer::new(DecodeLimits::default(), 1 << 20);
        let source = encoded(&scene());
        let larger = encoded(&resize(&scene(), 96, 64, Filter::Lanczos3));
        let first = comparer.compare(&source, &larger, true).unwrap();
        let (width, height) = first.size;
        assert_eq!(first.map.len() as u32, (width - 6) * (height - 6));
        let mean = first.map.iter().map(|&value| f64::from(value)).sum::<f64>();
        assert!((mean / first.map.len() as f64 - first.ssim).abs() < 1e-6);
        assert_eq!(first.size, (48, 32));
        assert!(first.ssim > 0.9, "{}", first.ssim);
        let unreadable = EncodedImage {
            data: vec![0].into(),
            ..source.clone()
        };
        // Known by its hash: the source is not decoded again.
        assert_eq!(
            comparer.compare(&unreadable, &larger, false).unwrap().ssim,
            first.ssim
        );
        assert_eq!(comparer.compare(&source, &source, false).unwrap().ssim, 1.0);
    }

    #[test]
    fn it_says_which_image_is_bad() {
        let comparer = Comparer::new(DecodeLimits::default(), 0);
        let good = encoded(&scene());
        let text = EncodedImage {
            data: (&b"pth,label"[..]).into(),
            blake3: String::new(),
        };
        let error = DecodeError::NotAnImage;
        assert_eq!(
            comparer.compare(&good, &text, false),
            Err(CompareError::Decode {
                which: Which::Candidate,
                error: error.clone()
            })
        );
        assert_eq!(
            comparer.compare(&text, &good, false),
            Err(CompareError::Decode {
                which: Which::Source,
                error
            })
        );
        let tiny = encoded(&RgbImage::new(6, 9));
        assert_eq!(
            comparer.compare(&tiny, &good, false),
            Err(CompareError::SourceTooSmall {
                width: 6,
                height: 9
            })
        );
    }
}
