//! Seamless transfer of a masked region from one aligned image to another: photometric matching, then Laplacian
//! pyramid blending (Burt and Adelson, "A Multiresolution Spline with Application to Image Mosaics", 1983).

use super::linear::solve;
use super::plane::Plane;
use super::pyramid::{collapse, gaussian, laplacian};

/// The gain of photometric matching stays within this factor either way, so that flat borders do not blow up noise.
const MAX_GAIN: f32 = 1.7;
/// Differences beyond this many grey levels are treated as parts that do not correspond (hair against skin).
const HUBER: f32 = 18.0;
const REWEIGHTINGS: usize = 4;

/// Brings `donor` to the light of `base`: a gain and a sloping offset fitted where `ring` is positive, which should be
/// the skin around the region that will be replaced. Planes are of one size, in grey levels.
pub(super) fn match_light(base: &Plane, donor: &Plane, ring: &Plane) -> Plane {
    let gain = gain(base, donor, ring);
    let slope = offset(&base.zip(donor, |b, d| b - gain * d), ring);
    Plane::from_fn(donor.width, donor.height, |x, y| {
        gain * donor.data[y * donor.width + x]
            + slope.at(centred(x, donor.width), centred(y, donor.height))
    })
}

fn gain(base: &Plane, donor: &Plane, ring: &Plane) -> f32 {
    let (base, donor) = (deviation(base, ring), deviation(donor, ring));
    if donor > 1e-3 {
        (base / donor).clamp(1.0 / MAX_GAIN, MAX_GAIN)
    } else {
        1.0
    }
}

fn deviation(plane: &Plane, weights: &Plane) -> f32 {
    let total = weights.data.iter().sum::<f32>().max(1e-6);
    let mean = dot(&plane.data, &weights.data) / total;
    let squares = plane
        .data
        .iter()
        .zip(&weights.data)
        .map(|(value, weight)| weight * (value - mean).powi(2));
    (squares.sum::<f32>() / total).sqrt()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A column or row from -1 to 1.
fn centred(i: usize, length: usize) -> f32 {
    2.0 * i as f32 / (length.max(2) - 1) as f32 - 1.0
}

/// `constant + across * x + down * y`.
#[derive(Clone, Copy, Default)]
struct Slope([f32; 3]);

impl Slope {
    fn at(self, x: f32, y: f32) -> f32 {
        self.0[0] + self.0[1] * x + self.0[2] * y
    }
}

/// The slope that fits `difference`, by iteratively reweighted least squares with Huber's weights.
fn offset(difference: &Plane, ring: &Plane) -> Slope {
    let mut slope = Slope::default();
    for round in 0..REWEIGHTINGS {
        let (mut normal, mut rhs) = ([[0.0; 3]; 3], [0.0; 3]);
        for (i, (value, weight)) in difference
            .data
            .iter()
            .zip(&ring.data)
            .enumerate()
            .filter(|(_, (_, w))| **w > 0.0)
        {
            let (x, y) = (
                centred(i % ring.width, ring.width),
                centred(i / ring.width, ring.height),
            );
            let residual = (value - slope.at(x, y)).abs();
            let trust = if round == 0 {
                1.0
            } else {
                (HUBER / residual.max(HUBER)).powi(2)
            };
            let terms = [1.0, f64::from(x), f64::from(y)];
            for row in 0..3 {
                for column in 0..3 {
                    normal[row][column] += f64::from(weight * trust) * terms[row] * terms[column];
                }
                rhs[row] += f64::from(weight * trust * value) * terms[row];
            }
        }
        match solve(normal, rhs) {
            Some(found) => slope = Slope(found.map(|value| value as f32)),
            None => return slope,
        }
    }
    slope
}

/// `donor` where `mask` is 1, `base` where it is 0, each band of frequencies blended over a width of its own scale.
/// `envelope`, in [0, 1], bounds the reach of the coarse bands: where it is 0, `base` comes back bit by bit.
/// The planes have one size.
pub(super) fn blend(
    base: &Plane,
    donor: &Plane,
    mask: &Plane,
    envelope: &Plane,
    levels: usize,
) -> Plane {
    let masks = gaussian(mask, levels);
    let bands = laplacian(base, levels)
        .into_iter()
        .zip(laplacian(donor, levels))
        .zip(&masks);
    let mixed = bands
        .map(|((base, donor), mask)| lerp(&base, &donor, mask))
        .collect();
    match collapse(mixed) {
        Some(blended) => lerp(base, &blended, envelope),
        None => base.clone(),
    }
}

fn lerp(from: &Plane, to: &Plane, share: &Plane) -> Plane {
    let pairs = from.data.iter().zip(&to.data).zip(&share.data);
    let data = pairs
        .map(|((a, b), share)| {
            if *share == 0.0 {
                *a
            } else {
                a + share * (b - a)
            }
        })
        .collect();
    Plane {
        width: from.width,
        height: from.height,
        data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texture(width: usize, height: usize, shift: usize) -> Plane {
        Plane::from_fn(width, height, |x, y| {
            ((x * 31 + y * 57 + x * y * 7 + shift * 101) % 200) as f32
        })
    }

    fn disc(width: usize, height: usize, radius: f32) -> Plane {
        let (cx, cy) = (width as f32 / 2.0, height as f32 / 2.0);
        Plane::from_fn(width, height, |x, y| {
            let distance = (x as f32 - cx).hypot(y as f32 - cy) / radius;
            ((1.0 - distance) * 4.0).clamp(0.0, 1.0)
        })
    }

    #[test]
    fn pixels_outside_the_envelope_stay_bit_by_bit() {
        let (base, donor) = (texture(61, 50, 0), texture(61, 50, 1));
        let envelope = disc(61, 50, 20.0);
        let blended = blend(&base, &donor, &disc(61, 50, 15.0), &envelope, 4);
        for (i, share) in envelope.data.iter().enumerate() {
            if *share == 0.0 {
                assert_eq!(blended.data[i].to_bits(), base.data[i].to_bits());
            }
        }
        assert!((blended.at(30, 25) - base.at(30, 25)).abs() > 1.0);
    }

    #[test]
    fn a_full_mask_gives_the_donor_and_an_empty_one_the_base() {
        let (base, donor) = (texture(40, 33, 0), texture(40, 33, 2));
        let (none, full) = (base.zip(&base, |_, _| 0.0), base.zip(&base, |_, _| 1.0));
        let worst = |a: &Plane, b: &Plane| {
            a.data
                .iter()
                .zip(&b.data)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max)
        };
        assert!(worst(&blend(&base, &donor, &full, &full, 4), &donor) < 1e-3);
        assert!(worst(&blend(&base, &donor, &none, &full, 4), &base) < 1e-3);
    }

    #[test]
    fn light_is_matched_through_outliers() {
        let base = texture(50, 40, 0);
        let ring = disc(50, 40, 24.0);
        let mut donor = Plane::from_fn(50, 40, |x, y| {
            0.8 * base.at(x as isize, y as isize) + 30.0 - 0.4 * x as f32
        });
        let matched = match_light(&base, &donor, &ring);
        let error = |plane: &Plane| {
            dot(&plane.zip(&base, |a, b| (a - b).abs()).data, &ring.data)
                / ring.data.iter().sum::<f32>()
        };
        assert!(error(&matched) < 3.0, "{}", error(&matched));
        // A strand of hair across the ring.
        donor
            .data
            .iter_mut()
            .skip(900)
            .take(40)
            .for_each(|value| *value = 255.0);
        let spoilt = error(&match_light(&base, &donor, &ring));
        assert!(spoilt < 14.0, "{spoilt}");
    }

    #[test]
    fn flat_donors_and_empty_rings_do_no_harm() {
        let base = texture(20, 20, 0);
        let flat = Plane::from_fn(20, 20, |_, _| 10.0);
        let empty = Plane::from_fn(20, 20, |_, _| 0.0);
        assert!(
            match_light(&base, &flat, &disc(20, 20, 8.0))
                .data
                .iter()
                .all(|value| value.is_finite())
        );
        assert_eq!(match_light(&base, &base, &empty), base);
    }
}
