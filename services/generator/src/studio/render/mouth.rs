//! The mouth: where action units put corners and lips, and how lips, teeth and tongue are painted.

use super::canvas::{Ink, Mask, Point};
use super::{Painter, Unit};
use crate::studio::colour::mixed;

/// Position of a corner of the mouth; `sign` is -1 at the left of the picture, 1 at the right.
pub(super) fn corner(painter: &Painter, sign: f32) -> Point {
    let on = |unit| painter.on(unit, sign);
    let stretch = 1.0
        + 0.20 * on(Unit::LipCornerPuller12)
        + 0.24 * on(Unit::LipStretcher20)
        + 0.10 * on(Unit::Dimpler14)
        - 0.15 * on(Unit::LipTightener23)
        - 0.05 * on(Unit::LipCornerDepressor15)
        - 0.20 * painter.of(Unit::JawDrop26);
    let fall = 0.085 * on(Unit::LipCornerDepressor15)
        + 0.025 * on(Unit::LipStretcher20)
        + 0.07 * painter.of(Unit::JawDrop26)
        - 0.115 * on(Unit::LipCornerPuller12)
        - 0.045 * on(Unit::Dimpler14);
    let mouth = &painter.person.mouth;
    (sign * mouth.width * stretch, mouth.height + fall)
}

/// The four edges of the lips as functions of the place between the corners.
struct Lips {
    corners: (Point, Point),
    /// Height of the middle of the edges, from the top of the upper lip to the bottom of the lower.
    upper_inner: f32,
    lower_inner: f32,
    upper_thickness: f32,
    lower_thickness: f32,
    /// 1: an arc, less: flatter in the middle and rounder at the corners.
    roundness: f32,
    /// How far each half of the upper lip is raised by AU10.
    sneer: (f32, f32),
}

impl Lips {
    fn of(painter: &Painter) -> Self {
        let of = |unit| painter.of(unit);
        let mouth = &painter.person.mouth;
        let (part, drop) = (of(Unit::LipsPart25), of(Unit::JawDrop26));
        let smile = of(Unit::LipCornerPuller12);
        let tight = of(Unit::LipTightener23);
        let pushed = 0.035 * of(Unit::ChinRaiser17);
        let gap = part
            * (0.055
                + 0.05 * smile
                + 0.035 * of(Unit::LipStretcher20)
                + 0.03 * of(Unit::UpperLipRaiser10))
            + 0.24 * drop * (0.25 + 0.75 * part.max(0.5 * drop));
        let upper_inner =
            mouth.height - pushed - 0.12 * gap + 0.012 * smile - 0.035 * of(Unit::UpperLipRaiser10);
        Self {
            corners: (corner(painter, -1.0), corner(painter, 1.0)),
            upper_inner,
            lower_inner: upper_inner + gap,
            upper_thickness: 0.058
                * mouth.upper
                * (1.0 - 0.62 * tight - 0.25 * smile - 0.25 * of(Unit::LipStretcher20)),
            lower_thickness: 0.078
                * mouth.lower
                * (1.0 - 0.58 * tight - 0.15 * smile - 0.15 * of(Unit::LipStretcher20)
                    + 0.2 * of(Unit::ChinRaiser17)),
            roundness: 1.0 - 0.55 * drop,
            sneer: (
                0.04 * painter.on(Unit::UpperLipRaiser10, -1.0),
                0.04 * painter.on(Unit::UpperLipRaiser10, 1.0),
            ),
        }
    }

    /// A point of an edge whose middle is at `middle`; `t` runs from -1 at the left corner to 1 at the right.
    fn edge(&self, middle: f32, t: f32, lift: f32) -> Point {
        let (left, right) = self.corners;
        let share = 0.5 * (t + 1.0);
        let line = left.1 + (right.1 - left.1) * share;
        let arc = (1.0 - t * t).max(0.0).powf(self.roundness);
        let middle_line = 0.5 * (left.1 + right.1);
        (
            left.0 + (right.0 - left.0) * share,
            line + (middle - middle_line) * arc - lift * arc,
        )
    }

    fn raised(&self, t: f32) -> f32 {
        let bump = |centre: f32| (1.0 - ((t - centre) / 0.6).powi(2)).max(0.0);
        self.sneer.0 * bump(-0.45) + self.sneer.1 * bump(0.45)
    }

    /// Edge of the upper lip towards the mouth's inside.
    fn top_inside(&self, t: f32) -> Point {
        self.edge(self.upper_inner, t, self.raised(t))
    }

    fn bottom_inside(&self, t: f32) -> Point {
        self.edge(self.lower_inner, t, 0.0)
    }

    /// Upper edge of the upper lip, with Cupid's bow.
    fn top_outside(&self, t: f32) -> Point {
        let bow = 1.0 - 0.34 * (1.0 - (t / 0.2).powi(2)).max(0.0);
        let profile = (1.0 - t.abs().powf(1.6)) * bow;
        let (x, y) = self.top_inside(t);
        (x, y - self.upper_thickness * profile)
    }

    fn bottom_outside(&self, t: f32) -> Point {
        let (x, y) = self.bottom_inside(t);
        (
            x,
            y + self.lower_thickness * (1.0 - t * t).max(0.0).powf(0.8),
        )
    }

    /// A closed outline along one edge to the right and along another back.
    fn between(&self, there: impl Fn(f32) -> Point, back: impl Fn(f32) -> Point) -> Vec<Point> {
        let places = (0..=12).map(|step| step as f32 / 6.0 - 1.0);
        places
            .clone()
            .map(there)
            .chain(places.rev().skip(1).take(11).map(back))
            .collect()
    }
}

pub(super) fn draw(painter: &mut Painter) {
    let lips = Lips::of(painter);
    draw_corners(painter, &lips);
    let colour = painter.lit(painter.person.mouth.colour, [0.0, 0.1, 0.95]);
    let upper = painter.outline(&lips.between(|t| lips.top_outside(t), |t| lips.bottom_inside(t)));
    painter
        .canvas
        .paint(&upper, 0.92, |_, _| colour.map(|channel| channel * 0.84));
    let lower = painter.outline(&lips.between(|t| lips.top_inside(t), |t| lips.bottom_outside(t)));
    painter.canvas.paint(&lower, 0.92, |_, _| colour);
    draw_inside(painter, &lips);
    let shine = lips.bottom_inside(0.0).1 + 0.5 * lips.lower_thickness;
    painter.spot(
        (0.0, shine),
        (0.13, 0.45 * lips.lower_thickness),
        0.0,
        Ink::Light,
        0.3,
    );
    let upper: Vec<Point> = (0..=12)
        .map(|step| lips.top_inside(step as f32 / 6.0 - 1.0))
        .collect();
    painter.stroke(&upper, 0.02, 0.012, Ink::Shade, 0.8);
}

/// What shows between the lips: dark, upper teeth, tongue.
fn draw_inside(painter: &mut Painter, lips: &Lips) {
    let gap = lips.lower_inner - lips.upper_inner + 0.5 * (lips.sneer.0 + lips.sneer.1);
    if gap < 0.012 {
        return;
    }
    let inside = painter.outline(&lips.between(|t| lips.top_inside(t), |t| lips.bottom_inside(t)));
    painter
        .canvas
        .paint(&inside, 1.0, |_, _| [58.0, 24.0, 24.0]);
    let shown = 0.35
        + 0.65
            * painter
                .of(Unit::LipCornerPuller12)
                .max(painter.of(Unit::UpperLipRaiser10))
                .max(painter.of(Unit::LipStretcher20));
    let teeth = (0.075 * shown).min(0.8 * gap);
    let lower = |t: f32| {
        let (x, y) = lips.top_inside(t);
        (x, y + teeth * (1.0 - 0.3 * t * t))
    };
    let row = painter
        .outline(&lips.between(|t| lips.top_inside(t), lower))
        .within(&inside);
    let enamel = painter.lit([232.0, 226.0, 210.0], [0.0, 0.0, 1.0]);
    painter.canvas.paint(&row, 0.94, |_, _| enamel);
    draw_tongue(painter, lips, &inside, gap);
}

fn draw_tongue(painter: &mut Painter, lips: &Lips, inside: &Mask, gap: f32) {
    if gap < 0.1 {
        return;
    }
    let (y, width) = (lips.lower_inner, 0.6 * painter.person.mouth.width);
    let points = [
        (-width, y + 0.02),
        (-0.6 * width, y - 0.28 * gap),
        (0.6 * width, y - 0.28 * gap),
        (width, y + 0.02),
    ];
    let tongue = painter.outline(&points).within(inside);
    let tone = mixed([150.0, 66.0, 66.0], painter.person.mouth.colour, 0.2);
    painter.canvas.paint(&tongue, 0.9, |_, _| tone);
}

/// Shadows at the corners; AU14 presses a dimple beside them, AU15 a fold below, AU20 draws the skin aside.
fn draw_corners(painter: &mut Painter, lips: &Lips) {
    for (sign, (x, y)) in [(-1.0, lips.corners.0), (1.0, lips.corners.1)] {
        let (dimple, fallen) = (
            painter.on(Unit::Dimpler14, sign),
            painter.on(Unit::LipCornerDepressor15, sign),
        );
        painter.spot((x, y), (0.06, 0.05), 0.0, Ink::Shade, 0.4 + 0.25 * dimple);
        let hook = [
            (x + sign * 0.025, y - 0.085),
            (x + sign * 0.07, y - 0.01),
            (x + sign * 0.03, y + 0.07),
        ];
        painter.stroke(&hook, 0.024, 0.03, Ink::Shade, 0.85 * dimple);
        painter.spot(
            (x + sign * 0.12, y - 0.01),
            (0.09, 0.11),
            0.0,
            Ink::Light,
            0.2 * dimple,
        );
        let fold = [
            (x + sign * 0.015, y + 0.01),
            (x + sign * 0.045, y + 0.08),
            (x + sign * 0.03, y + 0.17),
        ];
        painter.stroke(
            &fold,
            0.022,
            0.035,
            Ink::Shade,
            0.6 * fallen + 0.12 * painter.person.age,
        );
    }
}
