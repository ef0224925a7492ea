//! Folds of the skin: those of age, which are always there, and those that action units press into it.

use super::canvas::Ink;
use super::nose::wing_height;
use super::{Painter, Unit, mouth};

/// Shading of the eye sockets and bags under the eyes.
pub(super) fn draw_sockets(painter: &mut Painter) {
    let eyes = &painter.person.eyes;
    let (x, y, age) = (eyes.spacing, eyes.height, painter.person.age);
    for sign in [-1.0, 1.0] {
        painter.spot((sign * x, y - 0.03), (0.28, 0.18), 0.0, Ink::Shade, 0.44);
        painter.spot((sign * 0.13, y - 0.02), (0.11, 0.16), 0.0, Ink::Shade, 0.2);
        painter.spot(
            (sign * (x - 0.02), y + 0.13),
            (0.19, 0.06),
            0.1 * sign,
            Ink::Shade,
            0.08 + 0.2 * age,
        );
    }
}

/// All other folds.
pub(super) fn draw(painter: &mut Painter) {
    draw_forehead(painter);
    draw_frown(painter);
    draw_nose_root(painter);
    for sign in [-1.0, 1.0] {
        draw_cheek(painter, sign);
        draw_nasolabial(painter, sign);
    }
    draw_chin(painter);
}

/// AU1 wrinkles the middle of the forehead, AU2 its sides.
fn draw_forehead(painter: &mut Painter) {
    let age = 0.16 * painter.person.age;
    let (inner, outer) = (
        painter.of(Unit::InnerBrowRaiser1),
        painter.of(Unit::OuterBrowRaiser2),
    );
    // Pulled in by AU4, the wrinkles bend up in the middle.
    let bend = 0.05 * painter.of(Unit::BrowLowerer4) * inner;
    for row in 0..3 {
        let y = -0.50 - 0.085 * row as f32;
        let middle = age + 0.42 * inner * (1.0 - 0.2 * row as f32);
        painter.stroke(
            &[(-0.2, y + bend), (0.0, y - 0.015 - bend), (0.2, y + bend)],
            0.014,
            0.03,
            Ink::Shade,
            middle,
        );
        for sign in [-1.0, 1.0] {
            let side = 0.7 * age + 0.36 * painter.on(Unit::OuterBrowRaiser2, sign).max(0.3 * outer);
            painter.stroke(
                &[
                    (sign * 0.18, y),
                    (sign * 0.32, y - 0.02),
                    (sign * 0.46, y + 0.025),
                ],
                0.014,
                0.03,
                Ink::Shade,
                side,
            );
        }
    }
}

/// AU4 presses upright lines between the brows.
fn draw_frown(painter: &mut Painter) {
    let frown = painter.of(Unit::BrowLowerer4);
    let raised = painter.of(Unit::InnerBrowRaiser1);
    let strength = 0.1 * painter.person.age + 0.62 * frown * (1.0 - 0.4 * raised);
    let base = painter.person.eyes.height - 0.10;
    for sign in [-1.0, 1.0] {
        painter.stroke(
            &[
                (sign * 0.062, base + 0.03),
                (sign * 0.05, base - 0.08),
                (sign * 0.066, base - 0.18),
            ],
            0.016,
            0.03,
            Ink::Shade,
            strength,
        );
    }
    painter.spot(
        (0.0, base - 0.04),
        (0.15, 0.13),
        0.0,
        Ink::Shade,
        0.3 * frown,
    );
}

/// AU9 wrinkles the root and the sides of the nose.
fn draw_nose_root(painter: &mut Painter) {
    let wrinkled = painter.of(Unit::NoseWrinkler9);
    for row in 0..3 {
        let y = -0.13 + 0.055 * row as f32;
        painter.stroke(
            &[(-0.085, y + 0.012), (0.0, y - 0.012), (0.085, y + 0.012)],
            0.016,
            0.02,
            Ink::Shade,
            0.6 * wrinkled,
        );
    }
    for sign in [-1.0, 1.0] {
        let strength = 0.55 * painter.on(Unit::NoseWrinkler9, sign);
        for row in 0..2 {
            let y = -0.02 + 0.07 * row as f32;
            painter.stroke(
                &[
                    (sign * 0.09, y),
                    (sign * 0.15, y + 0.03),
                    (sign * 0.19, y + 0.075),
                ],
                0.016,
                0.02,
                Ink::Shade,
                strength,
            );
        }
    }
}

/// AU6 bags the lower lid and spreads crow's feet.
fn draw_cheek(painter: &mut Painter, sign: f32) {
    let raised = painter.on(Unit::CheekRaiser6, sign);
    let age = painter.person.age;
    let (x, y) = (painter.person.eyes.spacing, painter.person.eyes.height);
    painter.stroke(
        &[
            (sign * (x - 0.14), y + 0.10),
            (sign * x, y + 0.145),
            (sign * (x + 0.17), y + 0.09),
        ],
        0.016,
        0.03,
        Ink::Shade,
        0.1 + 0.25 * age + 0.45 * raised,
    );
    for ray in [-0.05_f32, 0.0, 0.05] {
        let line = [
            (sign * (x + 0.21), y + 0.4 * ray),
            (sign * (x + 0.30), y + 1.6 * ray),
        ];
        painter.stroke(&line, 0.012, 0.015, Ink::Shade, 0.12 * age + 0.45 * raised);
    }
}

/// The fold from the wing of the nose to the corner of the mouth: AU9, AU10, AU12.
fn draw_nasolabial(painter: &mut Painter, sign: f32) {
    let corner = mouth::corner(painter, sign);
    let wing = (
        sign * (painter.person.nose.width + 0.035),
        wing_height(painter, sign) - 0.01,
    );
    let smile = painter.on(Unit::LipCornerPuller12, sign);
    let raise = painter.on(Unit::UpperLipRaiser10, sign);
    let strength = 0.1
        + 0.26 * painter.person.age
        + 0.36 * smile
        + 0.42 * raise
        + 0.3 * painter.on(Unit::NoseWrinkler9, sign)
        + 0.1 * painter.on(Unit::LipStretcher20, sign)
        + 0.1 * painter.on(Unit::LipCornerDepressor15, sign);
    let out = 0.06 + 0.035 * smile;
    let end = (corner.0 + sign * out, corner.1 - 0.01 - 0.02 * smile);
    let bulge = 0.045 + 0.03 * smile + 0.03 * raise;
    let middle = (
        0.5 * (wing.0 + end.0) + sign * bulge,
        0.5 * (wing.1 + end.1) - 0.02,
    );
    painter.stroke(&[wing, middle, end], 0.022, 0.045, Ink::Shade, strength);
}

/// AU17 pushes up and dimples the chin; the lower lip throws a shadow on it.
fn draw_chin(painter: &mut Painter) {
    let raised = painter.of(Unit::ChinRaiser17);
    let y = painter.person.mouth.height + super::head::jaw_drop(painter);
    painter.spot(
        (0.0, y + 0.19),
        (0.2, 0.06),
        0.0,
        Ink::Shade,
        0.3 + 0.25 * raised,
    );
    painter.stroke(
        &[(-0.13, y + 0.215), (0.0, y + 0.175), (0.13, y + 0.215)],
        0.018,
        0.03,
        Ink::Shade,
        0.5 * raised,
    );
    for (x, dy) in [
        (-0.07, 0.27),
        (0.06, 0.26),
        (0.0, 0.31),
        (-0.02, 0.25),
        (0.08, 0.32),
    ] {
        painter.spot((x, y + dy), (0.03, 0.025), 0.0, Ink::Shade, 0.4 * raised);
    }
}
