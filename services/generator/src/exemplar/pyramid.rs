//! Gaussian and Laplacian pyramids (Burt and Adelson, "The Laplacian Pyramid as a Compact Image Code", 1983).

use super::plane::Plane;

const KERNEL: [f32; 5] = [1.0 / 16.0, 4.0 / 16.0, 6.0 / 16.0, 4.0 / 16.0, 1.0 / 16.0];

/// Half the size, rounded up: smoothed with the 5-tap binomial, every second sample kept.
pub(super) fn reduce(plane: &Plane) -> Plane {
    halved_rows(&halved_rows(plane).transposed()).transposed()
}

fn halved_rows(plane: &Plane) -> Plane {
    let smooth = plane.filtered_rows(&KERNEL);
    Plane::from_fn(plane.width.div_ceil(2), plane.height, |x, y| {
        smooth.data[y * plane.width + 2 * x]
    })
}

/// Back to `width` by `height`, the size that [`reduce`] came from.
pub(super) fn expand(plane: &Plane, width: usize, height: usize) -> Plane {
    doubled_rows(&doubled_rows(plane, width).transposed(), height).transposed()
}

fn doubled_rows(plane: &Plane, width: usize) -> Plane {
    Plane::from_fn(width, plane.height, |x, y| {
        let row = y as isize;
        let centre = (x / 2) as isize;
        if x % 2 == 0 {
            (plane.at(centre - 1, row) + 6.0 * plane.at(centre, row) + plane.at(centre + 1, row))
                / 8.0
        } else {
            (plane.at(centre, row) + plane.at(centre + 1, row)) / 2.0
        }
    })
}

/// The plane and its reductions, finest first; `levels` planes in all, fewer where a side gets down to one sample.
pub(super) fn gaussian(plane: &Plane, levels: usize) -> Vec<Plane> {
    let mut pyramid = vec![plane.clone()];
    while pyramid.len() < levels {
        match pyramid.last() {
            Some(last) if last.width.min(last.height) > 1 => pyramid.push(reduce(last)),
            _ => break,
        }
    }
    pyramid
}

/// What each level adds to the next coarser one, finest first; the last entry is the coarsest Gaussian level itself.
pub(super) fn laplacian(plane: &Plane, levels: usize) -> Vec<Plane> {
    let mut pyramid = gaussian(plane, levels);
    for level in 1..pyramid.len() {
        let finer = &pyramid[level - 1];
        let predicted = expand(&pyramid[level], finer.width, finer.height);
        pyramid[level - 1] = finer.zip(&predicted, |a, b| a - b);
    }
    pyramid
}

/// Undoes [`laplacian`]. `None` for a pyramid without levels.
pub(super) fn collapse(mut pyramid: Vec<Plane>) -> Option<Plane> {
    let mut plane = pyramid.pop()?;
    while let Some(detail) = pyramid.pop() {
        plane = expand(&plane, detail.width, detail.height).zip(&detail, |a, b| a + b);
    }
    Some(plane)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texture(width: usize, height: usize) -> Plane {
        Plane::from_fn(width, height, |x, y| {
            ((x * 37 + y * 91 + x * y * 13) % 256) as f32
        })
    }

    #[test]
    fn collapse_undoes_laplacian_at_odd_even_and_tiny_sizes() {
        for (width, height) in [(64, 64), (37, 52), (1, 9), (3, 2), (1, 1)] {
            let plane = texture(width, height);
            let back = collapse(laplacian(&plane, 5)).unwrap();
            let worst = plane
                .data
                .iter()
                .zip(&back.data)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert_eq!((back.width, back.height), (width, height));
            assert!(worst < 1e-3, "{width}x{height}: {worst}");
        }
    }

    #[test]
    fn a_flat_plane_has_no_detail() {
        let pyramid = laplacian(&Plane::from_fn(20, 13, |_, _| 80.0), 3);
        assert!(
            pyramid[..2]
                .iter()
                .flat_map(|level| &level.data)
                .all(|value| value.abs() < 1e-4)
        );
        assert!(
            pyramid[2]
                .data
                .iter()
                .all(|value| (value - 80.0).abs() < 1e-3)
        );
    }

    #[test]
    fn expand_lands_where_reduce_sampled() {
        let ramp = Plane::from_fn(33, 5, |x, _| x as f32);
        let back = expand(&reduce(&ramp), 33, 5);
        for x in 4..29 {
            assert!((back.at(x, 2) - x as f32).abs() < 1e-3);
        }
    }
}
