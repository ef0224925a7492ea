//! Two sets of feature vectors that can be compared.

/// Features that cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeatureError {
    /// A covariance needs two vectors.
    #[error("{found} feature vectors; at least 2 are needed, add images")]
    TooFew {
        /// Vectors given.
        found: usize,
    },
    /// One vector is longer than another.
    #[error(
        "a feature vector has {found} values where others have {expected}; embed all images with one model"
    )]
    Dimension {
        /// Values of the first vector.
        expected: usize,
        /// Values of another.
        found: usize,
    },
    /// A value is infinite or not a number.
    #[error("a feature vector holds a value that is no finite number; check the model")]
    NotFinite,
}

/// At least two feature vectors of one length.
#[derive(Debug, Clone, PartialEq)]
pub struct Features(Vec<Vec<f64>>);

impl Features {
    /// Takes vectors, one an image.
    ///
    /// # Errors
    /// Fewer than two, of different lengths, or not finite.
    pub fn new(vectors: Vec<Vec<f64>>) -> Result<Self, FeatureError> {
        let found = vectors.len();
        let expected = match vectors.first() {
            Some(first) if found >= 2 => first.len(),
            _ => return Err(FeatureError::TooFew { found }),
        };
        if let Some(other) = vectors.iter().find(|vector| vector.len() != expected) {
            let found = other.len();
            return Err(FeatureError::Dimension { expected, found });
        }
        if !vectors.iter().flatten().all(|value| value.is_finite()) {
            return Err(FeatureError::NotFinite);
        }
        Ok(Self(vectors))
    }

    /// Number of vectors.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// One a row.
    pub(crate) fn rows(&self) -> &[Vec<f64>] {
        &self.0
    }

    pub(crate) fn same_dimension(&self, other: &Self) -> Result<(), FeatureError> {
        let [expected, found] = [self, other].map(|features| features.0[0].len());
        (expected == found)
            .then_some(())
            .ok_or(FeatureError::Dimension { expected, found })
    }
}
