//! Eyes, brows and glasses.

use super::Painter;
use super::Unit;
use super::canvas::{Ink, Mask, Point};
use crate::studio::colour::mixed;

/// One eye's opening, in head units.
struct Eye {
    sign: f32,
    centre: Point,
    half_width: f32,
    upper: f32,
    lower: f32,
    tilt: f32,
}

impl Eye {
    fn of(painter: &Painter, sign: f32) -> Self {
        let on = |unit| painter.on(unit, sign);
        let eyes = &painter.person.eyes;
        let (wide, tight, cheek) = (
            on(Unit::UpperLidRaiser5),
            on(Unit::LidTightener7),
            on(Unit::CheekRaiser6),
        );
        let press = 0.16 * on(Unit::BrowLowerer4) * (1.0 - wide) + 0.2 * on(Unit::NoseWrinkler9);
        Self {
            sign,
            centre: (sign * eyes.spacing, eyes.height),
            half_width: 0.166 * eyes.size,
            upper: 0.081
                * eyes.size
                * eyes.openness
                * (1.0 + 0.68 * wide - 0.30 * tight - 0.20 * cheek - press).max(0.25),
            lower: 0.050
                * eyes.size
                * (1.0 + 0.3 * wide - 0.62 * tight - 0.72 * cheek - 0.3 * on(Unit::NoseWrinkler9))
                    .max(-0.1),
            tilt: eyes.tilt,
        }
    }

    /// A point of a lid; `t` runs from -1 at the inner corner to 1 at the outer.
    fn lid(&self, t: f32, height: f32) -> Point {
        let arc = (1.0 - t * t).max(0.0).powf(0.72);
        (
            self.centre.0 + self.sign * t * self.half_width,
            self.centre.1 - self.tilt * t - height * arc,
        )
    }

    fn line(&self, height: f32) -> Vec<Point> {
        (0..=8)
            .map(|step| self.lid(step as f32 / 4.0 - 1.0, height))
            .collect()
    }

    fn opening(&self) -> Vec<Point> {
        let back = self.line(-self.lower);
        self.line(self.upper)
            .into_iter()
            .chain(back.into_iter().rev().skip(1).take(7))
            .collect()
    }
}

pub(super) fn draw(painter: &mut Painter, gaze: Point) {
    for sign in [-1.0, 1.0] {
        let eye = Eye::of(painter, sign);
        let opening = painter.outline(&eye.opening());
        // The shade of the lids takes on the colour of the skin.
        let white = mixed([212.0, 204.0, 197.0], painter.person.skin.colour, 0.3);
        let white = painter.lit(white, [0.0, -0.1, 0.95]);
        painter.canvas.paint(&opening, 1.0, |_, _| white);
        draw_iris(painter, &eye, gaze, &opening);
        draw_lids(painter, &eye);
    }
}

fn draw_iris(painter: &mut Painter, eye: &Eye, gaze: Point, opening: &Mask) {
    let size = painter.person.eyes.size;
    let centre = painter
        .view
        .face(eye.centre.0 + gaze.0, eye.centre.1 - 0.012 + gaze.1);
    let iris = painter.person.eyes.iris;
    let radius = painter.view.px(0.080 * size);
    painter
        .canvas
        .disc(centre, radius, iris.map(|channel| channel * 0.55), opening);
    painter.canvas.disc(centre, 0.84 * radius, iris, opening);
    painter
        .canvas
        .disc(centre, 0.45 * radius, [16.0, 14.0, 14.0], opening);
    let lamp = painter.light.direction;
    let glint = (
        centre.0 + 0.8 * radius * lamp[0],
        centre.1 + 0.75 * radius * lamp[1],
    );
    painter
        .canvas
        .disc(glint, 0.24 * radius, [250.0, 250.0, 248.0], opening);
}

fn draw_lids(painter: &mut Painter, eye: &Eye) {
    let lashes = painter.person.eyes.lashes;
    let dark = mixed([30.0, 22.0, 20.0], painter.person.brows.colour, 0.3);
    // The upper lid shades the eyeball.
    let shade: Vec<Point> = eye.line(eye.upper - 0.018);
    painter.stroke(&shade, 0.02, 0.03, Ink::Shade, 0.45);
    let upper = eye.line(eye.upper);
    painter.stroke(
        &upper,
        0.024 + 0.012 * lashes,
        0.008,
        Ink::Paint(dark),
        0.7 + 0.3 * lashes,
    );
    let lower = eye.line(-eye.lower);
    painter.stroke(&lower, 0.011, 0.012, Ink::Shade, 0.6);
    let wide = painter.on(Unit::UpperLidRaiser5, eye.sign);
    let crease = eye.line(eye.upper + 0.045 - 0.022 * wide);
    painter.stroke(&crease[1..], 0.014, 0.02, Ink::Shade, 0.55);
    let tight = painter.on(Unit::LidTightener7, eye.sign);
    let bag = eye.line(-eye.lower - 0.045);
    painter.stroke(&bag, 0.016, 0.025, Ink::Shade, 0.12 + 0.4 * tight);
}

pub(super) fn draw_brows(painter: &mut Painter) {
    for sign in [-1.0, 1.0] {
        let on = |unit| painter.on(unit, sign);
        let (inner, outer, frown) = (
            on(Unit::InnerBrowRaiser1),
            on(Unit::OuterBrowRaiser2),
            on(Unit::BrowLowerer4),
        );
        let (wrinkled, wide) = (on(Unit::NoseWrinkler9), on(Unit::UpperLidRaiser5));
        let brows = &painter.person.brows;
        let base = painter.person.eyes.height - brows.lift;
        let spacing = painter.person.eyes.spacing;
        let squeeze = 0.04 * frown + 0.02 * wrinkled;
        let hold = 1.0 - 0.6 * inner;
        let spine = [
            (
                spacing - 0.195 - squeeze,
                base + 0.015 + brows.tilt - 0.125 * inner + 0.10 * frown * hold + 0.05 * wrinkled,
            ),
            (
                spacing - 0.08 - 0.7 * squeeze,
                base - 0.4 * brows.arch - 0.085 * inner - 0.03 * outer
                    + 0.085 * frown * hold
                    + 0.035 * wrinkled,
            ),
            (
                spacing + 0.06 - 0.3 * squeeze,
                base - brows.arch - 0.03 * inner - 0.095 * outer
                    + 0.06 * frown * hold
                    + 0.012 * wrinkled,
            ),
            (
                spacing + 0.21,
                base + 0.022 - brows.tilt - 0.085 * outer + 0.03 * frown * hold - 0.01 * wide,
            ),
        ];
        let thickness = [0.75, 1.0, 0.85, 0.18]
            .map(|share| 0.5 * share * brows.thickness * (1.0 + 0.15 * frown));
        let above = spine
            .iter()
            .zip(thickness)
            .map(|(&(x, y), half)| (sign * x, y - half));
        let below = spine
            .iter()
            .zip(thickness)
            .rev()
            .map(|(&(x, y), half)| (sign * x, y + half));
        let outline: Vec<Point> = above.chain(below).collect();
        let colour = painter.lit(brows.colour, [0.0, 0.0, 1.0]);
        let area = painter.outline(&outline);
        painter.canvas.paint(&area, 0.86, |_, _| colour);
        let soft: Vec<Point> = spine.iter().map(|&(x, y)| (sign * x, y)).collect();
        painter.stroke(&soft, 0.9 * brows.thickness, 0.03, Ink::Paint(colour), 0.4);
    }
}

pub(super) fn draw_glasses(painter: &mut Painter) {
    let Some(glasses) = &painter.person.glasses else {
        return;
    };
    let eyes = &painter.person.eyes;
    let (width, height) = (0.235, 0.165 + 0.03 * glasses.round);
    let corner = 0.55 + 0.35 * glasses.round;
    let frame = |x: f32, y: f32, painter: &Painter| painter.view.solid(x, y, 0.56);
    for sign in [-1.0_f32, 1.0] {
        let centre = (sign * (eyes.spacing + 0.01), eyes.height + 0.03);
        let rim: Vec<Point> = (0..=24)
            .map(|step| {
                let (sine, cosine) = (step as f32 * std::f32::consts::TAU / 24.0).sin_cos();
                let square = |part: f32| part.signum() * part.abs().powf(corner);
                frame(
                    centre.0 + width * square(cosine),
                    centre.1 + height * square(sine),
                    painter,
                )
            })
            .collect();
        let thick = painter.view.px(glasses.thickness * 1.4);
        painter
            .canvas
            .stroke(&rim, thick, 1.0, 0.3, Ink::Paint(glasses.colour), 0.95);
        let arm = [
            frame(centre.0 + sign * width, centre.1 - 0.05, painter),
            painter
                .view
                .solid(sign * painter.person.face.width, centre.1 - 0.06, 0.0),
        ];
        painter
            .canvas
            .stroke(&arm, thick, 1.0, 0.3, Ink::Paint(glasses.colour), 0.9);
        let glare = frame(centre.0 - 0.08, centre.1 - 0.06, painter);
        let radii = (painter.view.px(0.09), painter.view.px(0.05));
        painter.canvas.spot(glare, radii, -0.6, Ink::Light, 0.22);
    }
    let inner = eyes.spacing + 0.01 - width;
    let bridge = [
        frame(-inner, eyes.height, painter),
        frame(0.0, eyes.height - 0.03, painter),
        frame(inner, eyes.height, painter),
    ];
    let thick = painter.view.px(glasses.thickness * 1.4);
    painter.canvas.stroke(
        &super::open_curve(&bridge, 4),
        thick,
        1.0,
        0.3,
        Ink::Paint(glasses.colour),
        0.95,
    );
}
