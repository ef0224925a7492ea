//! Hair: the mass behind the head and the cap in front of it.

use super::Painter;
use super::canvas::{Ink, Point};
use super::view::mirrored;
use crate::studio::identity::HairStyle;
use crate::studio::rng::{Rng, mix};

/// How far the hair stands out from the skull, in head units.
fn stand(painter: &Painter) -> f32 {
    let volume = painter.person.hair.volume;
    match painter.person.hair.style {
        HairStyle::Shaved => 0.0,
        HairStyle::Receding | HairStyle::TiedBack => 0.03 + 0.03 * volume,
        HairStyle::Short | HairStyle::Parted => 0.06 + 0.08 * volume,
        HairStyle::Fringe | HairStyle::Bob | HairStyle::Long => 0.08 + 0.08 * volume,
        HairStyle::Curly => 0.20 + 0.16 * volume,
    }
}

/// The part that hangs behind face and neck.
pub(super) fn draw_behind(painter: &mut Painter) {
    let wide = painter.person.face.width + stand(painter);
    let volume = painter.person.hair.volume;
    let half: Vec<Point> = match painter.person.hair.style {
        HairStyle::Long => vec![
            (0.3, 1.75),
            (wide * 1.1, 1.7),
            (wide * 1.2, 1.1),
            (wide * 1.12, 0.3),
            (wide * 1.05, -0.5),
            (0.6, -1.1),
            (0.0, -1.2),
        ],
        HairStyle::Bob => vec![
            (0.3, 0.9),
            (wide, 0.75 + 0.2 * volume),
            (wide * 1.16, 0.5),
            (wide * 1.1, -0.1),
            (wide * 1.02, -0.6),
            (0.6, -1.1),
            (0.0, -1.2),
        ],
        HairStyle::Curly => vec![
            (0.3, 0.5),
            (wide, 0.45 * volume),
            (wide * 1.08, -0.2),
            (wide * 0.98, -0.8),
            (0.6, -1.25),
            (0.0, -1.35),
        ],
        HairStyle::TiedBack if volume > 0.5 => {
            vec![(0.2, -1.0), (0.27, -1.2), (0.2, -1.38), (0.0, -1.45)]
        }
        _ => return,
    };
    let outline: Vec<Point> = mirrored(&half)
        .into_iter()
        .map(|(x, y)| painter.view.solid(x, y, -0.35))
        .collect();
    let area = painter.mask(&outline);
    let tone = painter
        .lit(painter.person.hair.colour, [0.0, 0.2, 0.6])
        .map(|channel| channel * 0.8);
    let step = painter.view.px(0.035).max(1.0);
    painter.canvas.paint(&area, 1.0, |x, _| {
        let strand = 0.9 + 0.2 * ((mix((x / step) as u64) & 255) as f32 / 255.0);
        tone.map(|channel| channel * strand)
    });
}

/// The cap: from ear over the crown to ear, and back along the hairline.
pub(super) fn draw_front(painter: &mut Painter) {
    let style = painter.person.hair.style;
    if style == HairStyle::Shaved {
        painter.spot((0.0, -0.85), (0.9, 0.36), 0.0, Ink::Shade, 0.16);
        return;
    }
    let wide = painter.person.face.width;
    let out = stand(painter);
    let ear = match style {
        HairStyle::Long | HairStyle::Bob => 0.32,
        HairStyle::Curly => 0.02,
        _ => -0.12,
    };
    let crown = [
        (wide + 0.4 * out, ear),
        (wide + 0.02 + 0.9 * out, -0.4),
        (wide * 0.86 + out, -0.85),
        (wide * 0.5 + 0.5 * out, -1.1 - 0.7 * out),
        (0.0, -1.13 - out),
    ];
    let mut outline = mirrored(&crown);
    if style == HairStyle::Curly {
        ruffle(&mut outline, painter.person.seed);
    }
    let mut projected: Vec<Point> = outline
        .iter()
        .map(|&(x, y)| painter.view.solid(x, y, -0.05))
        .collect();
    projected.extend(
        hairline(painter)
            .into_iter()
            .map(|(x, y)| painter.view.face(x, y)),
    );
    let area = painter.mask(&projected);
    paint_strands(painter, &area);
}

/// The lower edge of the cap, from the right of the picture to the left.
fn hairline(painter: &Painter) -> Vec<Point> {
    let hair = &painter.person.hair;
    let wide = painter.person.face.width;
    let line = hair.hairline;
    let mut points = Vec::new();
    for place in [
        0.98_f32, 0.93, 0.78, 0.52, 0.25, 0.0, -0.25, -0.52, -0.78, -0.93, -0.98,
    ] {
        let edge = place.abs();
        let height = match hair.style {
            HairStyle::Receding => line - 0.13 - 0.10 * (1.0 - (edge - 0.5).abs()),
            HairStyle::Fringe => -0.50 + 0.05 * edge * edge - 0.04 * (place * hair.parting),
            HairStyle::Parted | HairStyle::Bob | HairStyle::Long => {
                line - 0.07 + 0.28 * (place - 0.6 * hair.parting).abs().powf(1.4)
            }
            _ => line - 0.03 + 0.08 * edge * edge,
        };
        let side = match hair.style {
            HairStyle::Long | HairStyle::Bob => 0.25,
            HairStyle::Receding => -0.22,
            _ => -0.12,
        };
        // The outermost points run down the temple.
        let height = if edge > 0.95 {
            side
        } else if edge > 0.9 {
            0.5 * (side + height) - 0.06
        } else {
            height
        };
        points.push((place * wide, height.min(side)));
    }
    points
}

/// Makes an outline of curls.
fn ruffle(outline: &mut Vec<Point>, seed: u64) {
    let rng = &mut Rng::new(seed, "curls");
    let smooth = super::open_curve(outline, 5);
    *outline = smooth
        .iter()
        .enumerate()
        .map(|(index, &(x, y))| {
            let out = 1.0
                + if index % 2 == 0 {
                    rng.range(0.0, 0.07)
                } else {
                    rng.range(-0.05, 0.0)
                };
            (x * out, y * out)
        })
        .collect();
}

/// Shades the cap: strands that fan out from the parting, a sheen across the crown.
fn paint_strands(painter: &mut Painter, area: &super::Mask) {
    let person = painter.person;
    let colour = person.hair.colour;
    let root = painter.view.solid(0.35 * person.hair.parting, -0.95, 0.1);
    let curly = person.hair.style == HairStyle::Curly;
    let (base, scale, seed) = (
        painter.lit(colour, [0.0, -0.3, 0.9]),
        painter.view.scale,
        person.seed,
    );
    painter.canvas.paint(area, 1.0, |x, y| {
        let (dx, dy) = ((x - root.0) / scale, (y - root.1) / scale);
        let cell = if curly {
            ((x / scale * 11.0) as u64) * 131 + (y / scale * 11.0) as u64
        } else {
            ((dy.atan2(dx) + 4.0) * 16.0) as u64
        };
        let strand = 0.86 + 0.28 * ((mix(cell ^ seed) & 255) as f32 / 255.0);
        let sheen = (1.0 - ((dx * dx + dy * dy).sqrt() - 0.35).abs() * 3.5).max(0.0) * 22.0;
        base.map(|channel| channel * strand + sheen)
    });
    // The cap throws a soft shadow on the forehead.
    let line = person.hair.hairline;
    if person.hair.style != HairStyle::Fringe {
        painter.spot((0.0, line + 0.02), (0.62, 0.10), 0.0, Ink::Shade, 0.12);
    }
}
