//! Antialiased drawing in floating point: filled outlines by area coverage, soft spots and tapered strokes by distance.

use crate::studio::colour::Rgb;

/// A position in pixels.
pub(crate) type Point = (f32, f32);

/// What a stroke or spot does to the colour beneath it.
#[derive(Clone, Copy)]
pub(crate) enum Ink {
    /// Covers it.
    Paint(Rgb),
    /// Darkens it as a fold in skin does: red least.
    Shade,
    /// Lightens it, slightly warm.
    Light,
    /// Reddens it.
    Blush,
}

/// A square picture in display space, three channels in `[0, 255]`.
pub(crate) struct Canvas {
    pub(crate) size: usize,
    pub(crate) pixels: Vec<Rgb>,
}

/// How much of each pixel of a rectangle an outline covers.
pub(crate) struct Mask {
    left: usize,
    top: usize,
    width: usize,
    cover: Vec<f32>,
}

/// Sub-scanlines of a pixel; along a scanline coverage is exact.
const SCANS: usize = 4;

/// Pixels `[low, high)` of an axis of `size` pixels that a span touches.
fn clipped(low: f32, high: f32, size: usize) -> (usize, usize) {
    let end = (high.ceil().max(0.0) as usize + 1).min(size);
    ((low.floor().max(0.0) as usize).min(end), end)
}

impl Mask {
    /// Coverage of the inside (even-odd) of a closed outline.
    pub(crate) fn fill(outline: &[Point], size: usize) -> Self {
        let bounds = |axis: fn(&Point) -> f32| {
            let low = outline.iter().map(axis).fold(f32::INFINITY, f32::min);
            clipped(
                low,
                outline.iter().map(axis).fold(f32::NEG_INFINITY, f32::max),
                size,
            )
        };
        let (left, right) = bounds(|point| point.0);
        let (top, bottom) = bounds(|point| point.1);
        let width = right - left;
        let mut cover = vec![0.0; width * (bottom - top)];
        let mut crossings = Vec::new();
        for (row, line) in cover.chunks_exact_mut(width.max(1)).enumerate() {
            for scan in 0..SCANS {
                let y = (top + row) as f32 + (scan as f32 + 0.5) / SCANS as f32;
                cross(outline, y, &mut crossings);
                for span in crossings.chunks_exact(2) {
                    cover_span(line, span[0] - left as f32, span[1] - left as f32);
                }
            }
        }
        Self {
            left,
            top,
            width,
            cover,
        }
    }

    /// Keeps only what `clip` covers too.
    pub(crate) fn within(mut self, clip: &Mask) -> Self {
        let (left, top) = (self.left, self.top);
        for (row, line) in self.cover.chunks_exact_mut(self.width.max(1)).enumerate() {
            for (column, value) in line.iter_mut().enumerate() {
                *value *= clip.at(left + column, top + row);
            }
        }
        self
    }

    /// Coverage of one pixel of the picture.
    pub(crate) fn at(&self, x: usize, y: usize) -> f32 {
        let inside = x >= self.left && x < self.left + self.width && y >= self.top;
        if inside {
            self.cover
                .get((y - self.top) * self.width + x - self.left)
                .copied()
                .unwrap_or(0.0)
        } else {
            0.0
        }
    }
}

/// Sorted positions at which an outline crosses a horizontal line.
fn cross(outline: &[Point], y: f32, crossings: &mut Vec<f32>) {
    crossings.clear();
    let mut previous = outline.last().copied().unwrap_or_default();
    for &point in outline {
        if (previous.1 <= y) != (point.1 <= y) {
            crossings.push(
                previous.0 + (y - previous.1) / (point.1 - previous.1) * (point.0 - previous.0),
            );
        }
        previous = point;
    }
    crossings.sort_unstable_by(f32::total_cmp);
}

/// Adds one sub-scanline's span, in pixels relative to the line's start.
fn cover_span(line: &mut [f32], from: f32, to: f32) {
    let (from, to) = (from.max(0.0), to.min(line.len() as f32));
    if from >= to {
        return;
    }
    for (offset, value) in line
        .iter_mut()
        .enumerate()
        .take(to.ceil() as usize)
        .skip(from as usize)
    {
        let covered = to.min(offset as f32 + 1.0) - from.max(offset as f32);
        *value = (*value + covered / SCANS as f32).min(1.0);
    }
}

impl Canvas {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            size,
            pixels: vec![[0.0; 3]; size * size],
        }
    }

    /// Covers what a mask covers with a colour that may depend on the place.
    pub(crate) fn paint(&mut self, mask: &Mask, opacity: f32, colour: impl Fn(f32, f32) -> Rgb) {
        for (row, line) in mask.cover.chunks_exact(mask.width.max(1)).enumerate() {
            let y = mask.top + row;
            for (column, &cover) in line.iter().enumerate() {
                if cover > 0.0 {
                    let x = mask.left + column;
                    let ink = Ink::Paint(colour(x as f32 + 0.5, y as f32 + 0.5));
                    blend(&mut self.pixels[y * self.size + x], ink, cover * opacity);
                }
            }
        }
    }

    /// A soft elliptical spot that fades to nothing at its radii; `angle` is clockwise in radians.
    pub(crate) fn spot(
        &mut self,
        centre: Point,
        radii: Point,
        angle: f32,
        ink: Ink,
        strength: f32,
    ) {
        let (sine, cosine) = angle.sin_cos();
        let reach = radii.0.max(radii.1);
        self.each(centre, reach, |pixel, x, y| {
            let (dx, dy) = (x - centre.0, y - centre.1);
            let across = (dx * cosine + dy * sine) / radii.0;
            let along = (dy * cosine - dx * sine) / radii.1;
            let fade = 1.0 - across * across - along * along;
            if fade > 0.0 {
                blend(pixel, ink, strength * fade * fade);
            }
        });
    }

    /// A disc with an antialiased edge, kept within `clip`.
    pub(crate) fn disc(&mut self, centre: Point, radius: f32, colour: Rgb, clip: &Mask) {
        let size = self.size;
        self.each(centre, radius + 1.0, |pixel, x, y| {
            let distance = (x - centre.0).hypot(y - centre.1);
            let cover = (radius - distance + 0.5).clamp(0.0, 1.0);
            debug_assert!(x < size as f32);
            blend(
                pixel,
                Ink::Paint(colour),
                cover * clip.at(x as usize, y as usize),
            );
        });
    }

    /// A polyline that is `width` pixels thick in the middle and tapers to `taper` of that at both ends; `soft` pixels
    /// of each edge are faded.
    pub(crate) fn stroke(
        &mut self,
        line: &[Point],
        width: f32,
        taper: f32,
        soft: f32,
        ink: Ink,
        strength: f32,
    ) {
        let Some(&first) = line.first() else { return };
        let (low, high) = line.iter().fold((first, first), |(low, high), point| {
            (
                (low.0.min(point.0), low.1.min(point.1)),
                (high.0.max(point.0), high.1.max(point.1)),
            )
        });
        let margin = 0.5 * width + soft + 1.0;
        let (left, right) = clipped(low.0 - margin, high.0 + margin, self.size);
        let (top, bottom) = clipped(low.1 - margin, high.1 + margin, self.size);
        // A line thinner than a pixel is drawn a pixel wide and fainter.
        let thin = width.min(1.0);
        for y in top..bottom {
            for x in left..right {
                let (distance, place) = nearest(line, (x as f32 + 0.5, y as f32 + 0.5));
                let ends = taper + (1.0 - taper) * (4.0 * place * (1.0 - place)).max(0.0).sqrt();
                let edge = 0.5 * width.max(1.0) * ends + 0.5 * soft - distance;
                if edge > -0.5 {
                    let cover = ((edge + 0.5) / (soft + 1.0)).clamp(0.0, 1.0);
                    blend(
                        &mut self.pixels[y * self.size + x],
                        ink,
                        strength * thin * cover * cover * (3.0 - 2.0 * cover),
                    );
                }
            }
        }
    }

    /// Visits the pixels of a square around a centre.
    fn each(&mut self, centre: Point, reach: f32, mut change: impl FnMut(&mut Rgb, f32, f32)) {
        let (left, right) = clipped(centre.0 - reach, centre.0 + reach, self.size);
        let (top, bottom) = clipped(centre.1 - reach, centre.1 + reach, self.size);
        for y in top..bottom {
            for x in left..right {
                change(
                    &mut self.pixels[y * self.size + x],
                    x as f32 + 0.5,
                    y as f32 + 0.5,
                );
            }
        }
    }
}

/// Distance from a point to a polyline, and how far along it the nearest place is, in `[0, 1]`.
fn nearest(line: &[Point], point: Point) -> (f32, f32) {
    let mut best = (f32::INFINITY, 0.0);
    for (index, pair) in line.windows(2).enumerate() {
        let (dx, dy) = (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1);
        let (px, py) = (point.0 - pair[0].0, point.1 - pair[0].1);
        let share = ((px * dx + py * dy) / (dx * dx + dy * dy).max(1e-6)).clamp(0.0, 1.0);
        let squared = (px - share * dx).powi(2) + (py - share * dy).powi(2);
        if squared < best.0 {
            best = (squared, index as f32 + share);
        }
    }
    (
        best.0.sqrt(),
        best.1 / (line.len().saturating_sub(1)).max(1) as f32,
    )
}

fn blend(pixel: &mut Rgb, ink: Ink, alpha: f32) {
    let target = match ink {
        Ink::Paint(colour) => colour,
        Ink::Shade => [pixel[0] * 0.34, pixel[1] * 0.2, pixel[2] * 0.18],
        Ink::Light => [255.0, 246.0, 236.0],
        Ink::Blush => [pixel[0] * 1.02, pixel[1] * 0.74, pixel[2] * 0.76],
    };
    for (value, goal) in pixel.iter_mut().zip(target) {
        *value += alpha * (goal - *value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_is_the_area() {
        let square = [(1.25, 2.0), (4.75, 2.0), (4.75, 5.5), (1.25, 5.5)];
        let mask = Mask::fill(&square, 8);
        assert!((mask.cover.iter().sum::<f32>() - 3.5 * 3.5).abs() < 1e-3);
        assert!((mask.at(1, 3) - 0.75).abs() < 1e-5);
        assert_eq!(mask.at(0, 0), 0.0);
        assert_eq!(mask.at(7, 7), 0.0);
    }

    #[test]
    fn outlines_beyond_the_picture_are_clipped() {
        let outline = [(-50.0, -50.0), (90.0, -50.0), (90.0, 90.0), (-50.0, 90.0)];
        let mut canvas = Canvas::new(8);
        canvas.paint(&Mask::fill(&outline, 8), 1.0, |_, _| [9.0; 3]);
        assert!(
            canvas
                .pixels
                .iter()
                .all(|pixel| (pixel[0] - 9.0).abs() < 1e-3)
        );
        canvas.paint(
            &Mask::fill(&[(20.0, 20.0), (30.0, 20.0), (30.0, 40.0)], 8),
            1.0,
            |_, _| [0.0; 3],
        );
        canvas.stroke(
            &[(-9.0, 3.0), (30.0, 3.0)],
            2.0,
            1.0,
            0.0,
            Ink::Paint([0.0; 3]),
            1.0,
        );
        assert!(canvas.pixels[3 * 8 + 4][0] < 1.0);
    }
}
