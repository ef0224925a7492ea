//! CLIP embeddings as near-duplicates are told by them: unit vectors, whose dot product is the cosine.

use crate::error::StoreError;

/// Most dimensions; those of CLIP have 512 to 1,280.
const MAX_DIMENSIONS: usize = 4_096;
/// Partial sums of a dot product.
const LANES: usize = 16;

/// A vector of length 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Embedding(Vec<f32>);

impl Embedding {
    /// The direction of a vector; `None` where there is none.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for one that is too long, not finite, or zero.
    pub(crate) fn of(vector: &[f32]) -> Result<Option<Self>, StoreError> {
        if vector.is_empty() {
            return Ok(None);
        }
        let invalid = |why: String| Err(StoreError::invalid("embedding", why));
        if vector.len() > MAX_DIMENSIONS {
            let why = format!(
                "has {} dimensions; the limit is {MAX_DIMENSIONS}",
                vector.len()
            );
            return invalid(why);
        }
        let length = vector
            .iter()
            .map(|x| f64::from(*x).powi(2))
            .sum::<f64>()
            .sqrt();
        if !length.is_finite() || length < f64::from(f32::MIN_POSITIVE) {
            return invalid(format!("has the length {length}, and so no direction"));
        }
        let unit = |x: &f32| (f64::from(*x) / length) as f32;
        Ok(Some(Self(vector.iter().map(unit).collect())))
    }

    /// -1 to 1; -1 for one of another model, with another number of dimensions.
    pub(crate) fn cosine(&self, other: &Self) -> f64 {
        if self.0.len() != other.0.len() {
            return -1.0;
        }
        // Sums side by side, which the compiler turns into wide instructions.
        let mut sums = [0.0_f32; LANES];
        for (a, b) in self.0.chunks(LANES).zip(other.0.chunks(LANES)) {
            for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
                *sum += a * b;
            }
        }
        f64::from(sums.iter().sum::<f32>())
    }

    /// As it is stored.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    /// As [`Self::to_bytes`] wrote it; trailing bytes that are no number are left out.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let (numbers, _) = bytes.as_chunks::<4>();
        Self(numbers.iter().map(|x| f32::from_le_bytes(*x)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedding(vector: &[f32]) -> Embedding {
        Embedding::of(vector).unwrap().unwrap()
    }

    #[test]
    fn length_does_not_matter_and_direction_does() {
        let a = embedding(&[3.0, 4.0]);
        assert!((a.cosine(&embedding(&[0.6, 0.8])) - 1.0).abs() < 1e-6);
        assert!(a.cosine(&embedding(&[4.0, -3.0])).abs() < 1e-6);
        assert_eq!(a.cosine(&embedding(&[1.0, 0.0, 0.0])), -1.0);
        let wave = |phase: f32| {
            (0..37)
                .map(|x| (x as f32 + phase).sin())
                .collect::<Vec<_>>()
        };
        let products = wave(0.0).into_iter().zip(wave(0.4)).map(|(a, b)| a * b);
        let length = |wave: Vec<f32>| wave.iter().map(|x| x * x).sum::<f32>().sqrt();
        let expected = products.sum::<f32>() / (length(wave(0.0)) * length(wave(0.4)));
        let found = embedding(&wave(0.0)).cosine(&embedding(&wave(0.4)));
        assert!(
            (found - f64::from(expected)).abs() < 1e-5,
            "{found}, {expected}"
        );
        assert_eq!(Embedding::from_bytes(&a.to_bytes()), a);
    }

    #[test]
    fn what_has_no_direction_is_refused() {
        assert_eq!(Embedding::of(&[]).unwrap(), None);
        for vector in [
            vec![0.0; 3],
            vec![f32::NAN, 1.0],
            vec![1.0; MAX_DIMENSIONS + 1],
        ] {
            let error = Embedding::of(&vector).unwrap_err();
            assert!(matches!(error, StoreError::Invalid { field, .. } if field == "embedding"));
        }
    }
}
