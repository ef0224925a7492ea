//! Shoulders, neck, ears, the shaded face, its marks, and beards.

use super::canvas::{Ink, Mask, Point};
use super::view::mirrored;
use super::{Painter, Unit};
use crate::studio::colour::mixed;
use crate::studio::identity::Beard;
use crate::studio::rng::Rng;

/// How far an open jaw lowers the chin, in head units.
pub(super) fn jaw_drop(painter: &Painter) -> f32 {
    0.12 * painter.of(Unit::JawDrop26) + 0.02 * painter.of(Unit::LipsPart25)
}

pub(super) fn draw_body(painter: &mut Painter) {
    let person = painter.person;
    let wide = person.face.width;
    let body = |painter: &Painter, half: &[Point]| {
        let points: Vec<Point> = mirrored(half)
            .into_iter()
            .map(|(x, y)| painter.view.body(x, y))
            .collect();
        painter.mask(&points)
    };
    let neck = body(
        painter,
        &[
            (0.5 * wide, 1.9),
            (0.55 * wide, 1.3),
            (0.57 * wide, 0.95),
            (0.57 * wide, 0.5),
            (0.3 * wide, 0.3),
        ],
    );
    let tone = painter
        .lit(person.skin.colour, [0.0, 0.25, 0.8])
        .map(|channel| channel * 0.86);
    painter.canvas.paint(&neck, 1.0, |_, _| tone);
    let depth = [0.22, 0.42, 0.12][person.clothing.cut.min(2)];
    let torso = body(
        painter,
        &[
            (1.7, 2.4),
            (1.5, 1.62),
            (1.0, 1.34),
            (0.55 * wide + 0.06, 1.2),
            (0.25, 1.2 + 0.6 * depth),
            (0.0, 1.25 + depth),
        ],
    );
    let colour = painter.lit(person.clothing.colour, [0.0, -0.2, 0.9]);
    painter.canvas.paint(&torso, 1.0, |_, _| colour);
    draw_collar(painter, wide, depth);
    let shadow = painter.view.body(0.0, 1.0);
    let radii = (painter.view.px(0.6), painter.view.px(0.34));
    painter.canvas.spot(shadow, radii, 0.0, Ink::Shade, 0.6);
}

fn draw_collar(painter: &mut Painter, wide: f32, depth: f32) {
    let trim = painter.lit(painter.person.clothing.trim, [0.0, 0.0, 1.0]);
    let edge = 0.55 * wide + 0.06;
    for sign in [-1.0, 1.0] {
        let line = [
            (sign * edge, 1.18),
            (sign * 0.27, 1.2 + 0.6 * depth),
            (0.0, 1.27 + depth),
        ];
        let projected: Vec<Point> = line.iter().map(|&(x, y)| painter.view.body(x, y)).collect();
        let width = painter.view.px(if painter.person.clothing.cut == 2 {
            0.14
        } else {
            0.05
        });
        painter.canvas.stroke(
            &super::open_curve(&projected, 5),
            width,
            1.0,
            0.5,
            Ink::Paint(trim),
            1.0,
        );
    }
}

pub(super) fn draw_ears(painter: &mut Painter) {
    let wide = painter.person.face.width;
    for sign in [-1.0_f32, 1.0] {
        let tone = painter.lit(painter.person.skin.colour, [0.5 * sign, 0.0, 0.7]);
        let ear: Vec<Point> = [
            (0.94, -0.17),
            (1.10, -0.2),
            (1.14, -0.05),
            (1.08, 0.12),
            (0.96, 0.2),
        ]
        .iter()
        .map(|&(x, y)| painter.view.solid(sign * x * wide, y, -0.12))
        .collect();
        let mask = painter.mask(&ear);
        painter.canvas.paint(&mask, 1.0, |_, _| tone);
        let inner = painter.view.solid(sign * 1.04 * wide, 0.0, -0.12);
        let radii = (painter.view.px(0.05), painter.view.px(0.15));
        painter.canvas.spot(inner, radii, 0.0, Ink::Shade, 0.4);
    }
}

/// Paints the skin and returns where it is.
pub(super) fn draw_face(painter: &mut Painter) -> Mask {
    let shape = &painter.person.face;
    let (wide, long) = (shape.width, shape.length);
    let drop = jaw_drop(painter);
    let cheek = 0.03 * painter.of(Unit::LipCornerPuller12) + 0.015 * painter.of(Unit::CheekRaiser6);
    let half = [
        (0.0, (1.0 * long) + drop),
        (0.62 * shape.chin, 0.985 * long + drop),
        (1.12 * shape.chin, 0.91 * long + drop),
        (wide * shape.jaw * 0.80, 0.70 * long + 0.7 * drop),
        (wide * shape.jaw, 0.46 + 0.3 * drop),
        (wide * (0.985 + cheek), 0.14),
        (wide, -0.2),
        (wide * 0.95, -0.55),
        (wide * 0.72, -0.88),
        (wide * 0.36, -1.03),
        (0.0, -1.07),
    ];
    let face = painter.outline(&mirrored(&half));
    let painter_ref = &*painter;
    let size = painter.canvas.size;
    let skin_colour = painter.person.skin.colour;
    let tones: Vec<_> = (0..size * size)
        .map(|index| {
            let (x, y) = (index % size, index / size);
            if face.at(x, y) <= 0.0 {
                return [0.0; 3];
            }
            let (u, v) = painter_ref.view.unproject(x as f32 + 0.5, y as f32 + 0.5);
            let (across, down) = (
                (u / (wide * 1.12)).clamp(-1.0, 1.0),
                ((v + 0.02) / 1.25).clamp(-1.0, 1.0),
            );
            let towards = (1.0 - across * across - 0.8 * down * down).max(0.02).sqrt();
            painter_ref.lit(skin_colour, [across, 0.8 * down, towards])
        })
        .collect();
    painter
        .canvas
        .paint(&face, 1.0, |x, y| tones[y as usize * size + x as usize]);
    draw_relief(painter, drop);
    face
}

/// The large soft forms: forehead, cheeks, chin, hollows.
fn draw_relief(painter: &mut Painter, drop: f32) {
    let wide = painter.person.face.width;
    let lamp = painter.light.direction[0];
    painter.spot((0.25 * lamp, -0.55), (0.5, 0.3), 0.0, Ink::Light, 0.16);
    painter.spot((0.0, 0.84 + drop), (0.2, 0.13), 0.0, Ink::Light, 0.12);
    for sign in [-1.0, 1.0] {
        let raised = painter
            .on(Unit::CheekRaiser6, sign)
            .max(0.8 * painter.on(Unit::LipCornerPuller12, sign));
        let blush = painter.person.skin.blush;
        painter.spot(
            (sign * 0.58 * wide, 0.22 - 0.05 * raised),
            (0.28, 0.24),
            0.0,
            Ink::Light,
            0.13 + 0.16 * raised,
        );
        painter.spot(
            (sign * 0.60 * wide, 0.28),
            (0.26, 0.22),
            0.0,
            Ink::Blush,
            blush,
        );
        painter.spot(
            (sign * 0.80 * wide, 0.52 + 0.5 * drop),
            (0.24, 0.32),
            0.3 * sign,
            Ink::Shade,
            0.17 + 0.12 * painter.person.age,
        );
        painter.spot(
            (sign * 0.95 * wide, -0.3),
            (0.2, 0.5),
            0.0,
            Ink::Shade,
            0.16,
        );
    }
}

pub(super) fn draw_marks(painter: &mut Painter) {
    let rng = &mut Rng::new(painter.person.seed, "marks");
    if painter.person.skin.freckles {
        for _ in 0..46 {
            let at = (
                rng.normal(0.0, 0.28).clamp(-0.55, 0.55),
                rng.normal(0.16, 0.10),
            );
            let radius = rng.range(0.012, 0.026);
            painter.spot(at, (radius, radius), 0.0, Ink::Shade, rng.range(0.2, 0.5));
        }
    }
    if let Some(mole) = painter.person.skin.mole {
        painter.spot(mole, (0.03, 0.03), 0.0, Ink::Shade, 0.9);
    }
}

pub(super) fn draw_beard(painter: &mut Painter, face: &Mask) {
    let kind = painter.person.beard;
    let strength = match kind {
        Beard::None => return,
        Beard::Stubble => 0.30,
        Beard::Moustache => 0.0,
        Beard::Full => 0.86,
    };
    let (wide, jaw) = (painter.person.face.width, painter.person.face.jaw);
    let drop = jaw_drop(painter);
    let height = painter.person.mouth.height;
    let colour = painter.lit(
        mixed(painter.person.hair.colour, [70.0, 58.0, 50.0], 0.3),
        [0.0, 0.1, 0.8],
    );
    let half = [
        (0.0, 1.2 + drop),
        (0.5 * wide, 1.12 + drop),
        (1.05 * wide * jaw, 0.75 + drop),
        (1.08 * wide, 0.12),
        (0.92 * wide, 0.2),
        (0.78 * wide * jaw, 0.5),
        (0.36, height + 0.02),
        (0.25, height - 0.13),
        (0.0, height - 0.15),
    ];
    let area = painter.outline(&mirrored(&half)).within(face);
    painter.canvas.paint(&area, strength, |x, y| {
        let grain = 0.85 + 0.3 * ((x * 12.9 + y * 4.1).sin() * 43.7).fract().abs();
        colour.map(|channel| channel * grain)
    });
    if matches!(kind, Beard::Moustache | Beard::Full) {
        draw_moustache(painter, colour);
    }
}

fn draw_moustache(painter: &mut Painter, colour: [f32; 3]) {
    let mouth = &painter.person.mouth;
    let top = mouth.height - 0.05 - 0.05 * painter.of(Unit::UpperLipRaiser10);
    let half = [
        (0.0, top - 0.02),
        (0.13, top - 0.01),
        (mouth.width + 0.03, top + 0.08),
        (0.2, top - 0.07),
        (0.08, top - 0.11),
        (0.0, top - 0.10),
    ];
    let area = painter.outline(&mirrored(&half));
    painter.canvas.paint(&area, 0.85, |_, _| colour);
}
