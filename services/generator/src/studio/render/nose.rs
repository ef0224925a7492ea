//! The nose: its lit and shaded sides, wings and nostrils; AU9 and AU10 raise the wings.

use super::Painter;
use super::Unit;
use super::canvas::{Ink, Point};

/// Height of the wings of the nose on one side, in head units.
pub(super) fn wing_height(painter: &Painter, sign: f32) -> f32 {
    let lift = 0.045 * painter.on(Unit::NoseWrinkler9, sign)
        + 0.02 * painter.on(Unit::UpperLipRaiser10, sign);
    0.265 * painter.person.nose.length - lift
}

pub(super) fn draw(painter: &mut Painter) {
    let nose = &painter.person.nose;
    let (wide, relief) = (nose.width, nose.relief);
    let flare =
        1.0 + 0.12 * painter.of(Unit::NoseWrinkler9) + 0.06 * painter.of(Unit::LipCornerPuller12);
    let tip = 0.5 * (wing_height(painter, -1.0) + wing_height(painter, 1.0)) - 0.03;
    let lamp = painter.light.direction[0];
    let dark = if lamp > 0.0 { -1.0 } else { 1.0 };
    let slant = (lamp.abs() * 1.2).min(0.5);
    for sign in [-1.0_f32, 1.0] {
        let shadow = if sign == dark {
            0.22 + 0.3 * slant
        } else {
            0.2 - 0.2 * slant
        };
        on_nose(
            painter,
            (sign * 0.105, 0.02),
            (0.07, 0.26),
            0.1 * sign,
            Ink::Shade,
            shadow * relief,
        );
        on_nose(
            painter,
            (sign * 0.9 * wide * flare, tip + 0.03),
            (0.075, 0.09),
            0.0,
            Ink::Shade,
            0.24 * relief,
        );
    }
    on_nose(
        painter,
        (-0.01 * dark, 0.0),
        (0.06, 0.27),
        0.0,
        Ink::Light,
        0.28 * relief,
    );
    on_nose(
        painter,
        (-0.02 * dark, tip - 0.02),
        (0.085, 0.075),
        0.0,
        Ink::Light,
        0.32 * relief,
    );
    on_nose(
        painter,
        (0.0, tip + 0.10),
        (0.17, 0.07),
        0.0,
        Ink::Shade,
        0.42,
    );
    for sign in [-1.0, 1.0] {
        draw_wing(painter, sign, wide * flare);
    }
}

fn draw_wing(painter: &mut Painter, sign: f32, wide: f32) {
    let y = wing_height(painter, sign);
    painter.stroke(
        &[
            (sign * (wide - 0.01), y - 0.075),
            (sign * (wide + 0.012), y - 0.03),
            (sign * (wide - 0.005), y + 0.025),
            (sign * (wide - 0.05), y + 0.032),
        ],
        0.016,
        0.022,
        Ink::Shade,
        0.62,
    );
    on_nose(
        painter,
        (sign * 0.52 * wide, y + 0.038),
        (0.052, 0.03),
        -0.25 * sign,
        Ink::Shade,
        1.0,
    );
    on_nose(
        painter,
        (sign * 0.50 * wide, y + 0.038),
        (0.04, 0.022),
        -0.25 * sign,
        Ink::Shade,
        0.8,
    );
}

/// A spot that stands out from the face as the nose does, so that it moves further when the head turns.
fn on_nose(painter: &mut Painter, at: Point, radii: Point, angle: f32, ink: Ink, strength: f32) {
    let depth = 0.6 + 0.22 * ((at.1 + 0.2) / 0.5).clamp(0.0, 1.0);
    let centre = painter.view.solid(at.0, at.1, depth);
    let radii = (painter.view.px(radii.0), painter.view.px(radii.1));
    let roll = painter.view.roll;
    painter
        .canvas
        .spot(centre, radii, angle + roll, ink, strength.clamp(0.0, 1.0));
}
