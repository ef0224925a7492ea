//! Means over the explanations of several images: what a model relies on for a class, not for one picture of it.

use image::RgbImage;
use saga_explain::{ExplainError, overlay};

use crate::explainer::{Explained, ExplainedMap};

/// Sums, so far.
pub(crate) struct Means {
    count: u32,
    /// None after several classes.
    class: Option<usize>,
    probability: f32,
    size: (u32, u32),
    /// Of the pictures, as `RgbImage` has them.
    levels: Vec<u32>,
    maps: Vec<ExplainedMap>,
}

impl Means {
    /// Of one image.
    pub(crate) fn of(first: Explained) -> Self {
        Self {
            count: 1,
            class: first.class,
            probability: first.probability,
            size: first.picture.dimensions(),
            levels: first.picture.iter().map(|&level| level.into()).collect(),
            maps: first.maps,
        }
    }

    /// Images so far.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Another image of the same question.
    pub(crate) fn add(&mut self, one: &Explained) {
        self.count += 1;
        self.class = self.class.filter(|_| self.class == one.class);
        self.probability += one.probability;
        for (sum, &level) in self.levels.iter_mut().zip(one.picture.iter()) {
            *sum += u32::from(level);
        }
        for (sum, one) in self.maps.iter_mut().zip(&one.maps) {
            sum.map.add(&one.map);
            if let (Some(sum), Some(one)) = (&mut sum.curves, &one.curves) {
                sum.add(one);
            }
        }
    }

    /// The means; maps are painted again where the images' were.
    pub(crate) fn finish(mut self) -> Result<Explained, ExplainError> {
        let levels = self.levels.iter().map(|sum| (sum / self.count) as u8);
        let (width, height) = self.size;
        let picture = RgbImage::from_raw(width, height, levels.collect()).unwrap_or_default();
        for mean in &mut self.maps {
            mean.map.divide(self.count);
            if let Some(curves) = &mut mean.curves {
                curves.divide(self.count);
            }
            if !mean.overlay.is_empty() {
                mean.overlay = overlay(&picture, &mean.map)?;
            }
        }
        Ok(Explained {
            class: self.class,
            probability: self.probability / self.count as f32,
            picture,
            maps: self.maps,
        })
    }
}

#[cfg(test)]
mod tests {
    use saga_explain::{Curve, Curves, Heatmap};

    use super::*;

    fn explained(class: usize, value: f32) -> Explained {
        let curve = Curve(vec![value, 0.0]);
        Explained {
            class: Some(class),
            probability: value,
            picture: RgbImage::from_pixel(1, 1, image::Rgb([(value * 200.0) as u8; 3])),
            maps: vec![ExplainedMap {
                map: Heatmap {
                    height: 1,
                    width: 1,
                    values: vec![value],
                },
                curves: Some(Curves {
                    deletion: curve.clone(),
                    insertion: curve,
                }),
                overlay: vec![0],
            }],
        }
    }

    #[test]
    fn everything_is_a_mean() {
        let mut means = Means::of(explained(1, 0.5));
        means.add(&explained(1, 1.0));
        assert_eq!(means.count(), 2);
        let mean = means.finish().unwrap();
        assert_eq!((mean.class, mean.probability), (Some(1), 0.75));
        assert_eq!(mean.picture.as_raw(), &[150; 3]);
        let map = &mean.maps[0];
        assert_eq!(map.map.values, [0.75]);
        let curves = map.curves.as_ref().unwrap();
        assert_eq!(
            (&curves.deletion.0, curves.insertion.area()),
            (&vec![0.75, 0.0], 0.375)
        );
        let painted = overlay(&mean.picture, &map.map).unwrap();
        assert_eq!(map.overlay, painted);
    }

    #[test]
    fn means_over_classes_are_of_none() {
        let mut means = Means::of(explained(1, 0.5));
        means.add(&explained(2, 0.5));
        means.add(&explained(1, 0.5));
        assert_eq!(means.finish().unwrap().class, None);
    }
}
