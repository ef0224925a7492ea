//! Whether a diffusion model repeats the images that it was trained on.

use serde::{Deserialize, Serialize};

/// Real images of which fewer than this share are nearer to another one: so many would be expected of pictures like them.
const NEARER_THAN_MOST: f64 = 0.05;

/// A candidate and the training image, other than its source, that it is nearest to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Nearest {
    /// The candidate.
    pub candidate_id: String,
    /// The training image.
    pub image_id: String,
    /// Root mean square difference of grey levels, 0 to 255, at 32x32 pixels.
    pub distance: f64,
    /// Share of the training images that are nearer to the nearest other one, 0 to 1.
    pub share: f64,
}

/// How near candidates came to training images, next to how near those are to each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Memorisation {
    /// Candidates that the model made.
    pub candidates: u64,
    /// Those nearer to a training image than any training image is to another.
    pub nearer_than_any: u64,
    /// Those nearer than 95 % of them are; 5 % of the candidates would be, were they as far as real images.
    pub nearer_than_most: u64,
    /// Median of the candidates' shares; 0.5 were they as far as real images.
    pub median_share: f64,
    /// The nearest candidate.
    pub nearest: Nearest,
}

impl Memorisation {
    /// Of all candidates; `None` where there is none.
    pub fn new(mut candidates: Vec<Nearest>) -> Option<Self> {
        let count = |below: fn(&Nearest) -> bool| {
            candidates.iter().filter(|nearest| below(nearest)).count() as u64
        };
        let nearer_than_any = count(|nearest| nearest.share == 0.0);
        let nearer_than_most = count(|nearest| nearest.share < NEARER_THAN_MOST);
        candidates.sort_by(|a, b| {
            let by_id = || a.candidate_id.cmp(&b.candidate_id);
            a.distance.total_cmp(&b.distance).then_with(by_id)
        });
        // Shares grow with distances.
        let median = candidates.get(candidates.len() / 2)?;
        Some(Self {
            candidates: candidates.len() as u64,
            nearer_than_any,
            nearer_than_most,
            median_share: median.share,
            nearest: candidates.first()?.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_counted_and_the_nearest_named() {
        let nearest = |id: &str, distance: f64, share: f64| Nearest {
            candidate_id: id.to_owned(),
            image_id: format!("image-{id}"),
            distance,
            share,
        };
        let found = Memorisation::new(vec![
            nearest("c", 20.0, 0.6),
            nearest("a", 0.5, 0.0),
            nearest("b", 3.0, 0.04),
            nearest("d", 30.0, 0.9),
        ])
        .unwrap();
        assert_eq!((found.nearer_than_any, found.nearer_than_most), (1, 2));
        assert_eq!((found.candidates, found.median_share), (4, 0.6));
        assert_eq!(found.nearest.image_id, "image-a");
        assert_eq!(Memorisation::new(Vec::new()), None);
    }
}
