//! From a scene to a picture: paints backdrop, body, head, features and folds from back to front, then exposes the
//! result on the sensor.

mod backdrop;
mod canvas;
mod eyes;
mod folds;
mod hair;
mod head;
mod mouth;
mod nose;
mod sensor;
mod view;

use image::RgbImage;

use self::canvas::{Canvas, Ink, Mask, Point};
use self::view::{View, closed_curve, open_curve};
use super::colour::Rgb;
use super::expression::{Expression, Side, Unit};
use super::identity::Identity;
use super::scene::{Light, Scene};

pub(crate) use self::sensor::blurred;

/// Renders a scene as a square picture of `size` pixels a side.
pub fn render(scene: &Scene, size: u32) -> RgbImage {
    let mut canvas = Canvas::new(size as usize);
    backdrop::draw(&mut canvas, &scene.backdrop);
    draw_person(&mut canvas, scene);
    sensor::expose(canvas, &scene.camera, &scene.light)
}

/// Renders a picture with a second person beside the first, before the first's backdrop and lamp.
pub(crate) fn render_pair(first: &Scene, second: &Scene, size: u32) -> RgbImage {
    let mut canvas = Canvas::new(size as usize);
    backdrop::draw(&mut canvas, &first.backdrop);
    draw_person(&mut canvas, first);
    draw_person(&mut canvas, second);
    sensor::expose(canvas, &first.camera, &first.light)
}

fn draw_person(canvas: &mut Canvas, scene: &Scene) {
    let view = View::new(&scene.pose, canvas.size);
    let mut painter = Painter {
        canvas,
        view,
        person: &scene.identity,
        action: &scene.expression,
        light: &scene.light,
    };
    let painter = &mut painter;
    hair::draw_behind(painter);
    head::draw_body(painter);
    head::draw_ears(painter);
    let face = head::draw_face(painter);
    folds::draw_sockets(painter);
    head::draw_marks(painter);
    head::draw_beard(painter, &face);
    folds::draw(painter);
    nose::draw(painter);
    mouth::draw(painter);
    eyes::draw(painter, scene.pose.gaze);
    hair::draw_front(painter);
    eyes::draw_brows(painter);
    eyes::draw_glasses(painter);
}

/// A canvas together with whom it shows and how.
struct Painter<'scene> {
    canvas: &'scene mut Canvas,
    view: View,
    person: &'scene Identity,
    action: &'scene Expression,
    light: &'scene Light,
}

impl Painter<'_> {
    /// Intensity of an action unit on the side of a sign: -1 is the left of the picture, 1 the right.
    fn on(&self, unit: Unit, sign: f32) -> f32 {
        self.action
            .on(unit, if sign < 0.0 { Side::Left } else { Side::Right })
    }

    /// Mean intensity of an action unit.
    fn of(&self, unit: Unit) -> f32 {
        self.action.of(unit)
    }

    /// Coverage of a smooth closed outline on the face.
    fn outline(&self, points: &[Point]) -> Mask {
        let projected: Vec<Point> = points.iter().map(|&(x, y)| self.view.face(x, y)).collect();
        self.mask(&projected)
    }

    /// Coverage of a smooth closed outline in pixels.
    fn mask(&self, projected: &[Point]) -> Mask {
        Mask::fill(&closed_curve(projected, 5), self.canvas.size)
    }

    /// A soft spot on the face; place and radii in head units.
    fn spot(&mut self, at: Point, radii: Point, angle: f32, ink: Ink, strength: f32) {
        let centre = self.view.face(at.0, at.1);
        let radii = (self.view.px(radii.0), self.view.px(radii.1));
        self.canvas
            .spot(centre, radii, angle + self.view.roll, ink, strength);
    }

    /// A smooth stroke on the face; places, width and softness in head units.
    fn stroke(&mut self, points: &[Point], width: f32, soft: f32, ink: Ink, strength: f32) {
        if strength <= 0.01 {
            return;
        }
        let projected: Vec<Point> = points.iter().map(|&(x, y)| self.view.face(x, y)).collect();
        let (width, soft) = (self.view.px(width), self.view.px(soft));
        self.canvas.stroke(
            &open_curve(&projected, 4),
            width,
            0.25,
            soft,
            ink,
            strength.min(1.0),
        );
    }

    /// A colour under the scene's light where the surface faces `normal` (right, down, towards the camera).
    fn lit(&self, colour: Rgb, normal: [f32; 3]) -> Rgb {
        let towards: f32 = normal
            .iter()
            .zip(self.light.direction)
            .map(|(part, lamp)| part * lamp)
            .sum();
        let level = self.light.ambient + self.light.diffuse * towards.max(0.0);
        // Shadows on skin and hair stay warm.
        let warm = (1.0 - level).max(0.0) * 0.12;
        [
            colour[0] * (level + warm),
            colour[1] * level,
            colour[2] * (level - 0.5 * warm),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studio::expression::Label;

    #[test]
    fn the_same_scene_gives_the_same_bytes() {
        let scene = Scene::sample(9);
        assert_eq!(render(&scene, 96), render(&scene, 96));
        assert_ne!(render(&scene, 96), render(&Scene::sample(10), 96));
    }

    #[test]
    fn every_expression_changes_the_picture_of_a_person() {
        let still = |label| {
            let mut scene = Scene::of(3, label, 4);
            (scene.camera.grain, scene.camera.fresh) = (0.0, 0.0);
            render(&scene, 128)
        };
        let neutral = still(Label::Neutral);
        for label in Label::ALL.into_iter().skip(1) {
            let other = still(label);
            let changed = neutral
                .pixels()
                .zip(other.pixels())
                .filter(|(a, b)| a.0[1].abs_diff(b.0[1]) > 12)
                .count();
            assert!((40..6000).contains(&changed), "{label}: {changed} pixels");
        }
    }

    #[test]
    fn extreme_sizes_render() {
        assert_eq!(render(&Scene::sample(1), 64).dimensions(), (64, 64));
        assert_eq!(render(&Scene::sample(2), 512).dimensions(), (512, 512));
    }
}
