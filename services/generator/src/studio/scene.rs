//! What is in front of the camera and the camera itself. A scene is wholly given by a handful of seeds, which is what
//! makes it small enough to travel inside a JPEG.

use super::colour::Rgb;
use super::expression::{Expression, Label};
use super::identity::Identity;
use super::rng::{Rng, derive};

/// A picture before it is taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    pub identity: Identity,
    pub expression: Expression,
    pub pose: Pose,
    pub light: Light,
    pub backdrop: Backdrop,
    pub camera: Camera,
}

/// Where the head is and which way it looks.
#[derive(Clone, Debug, PartialEq)]
pub struct Pose {
    pub seed: u64,
    /// Radians; positive turns the face to the right of the picture.
    pub yaw: f32,
    /// Radians; positive looks down.
    pub pitch: f32,
    /// Radians, clockwise.
    pub roll: f32,
    /// Pixels per head unit as a share of the picture's side.
    pub scale: f32,
    /// Offset of the head as a share of the picture's side.
    pub shift: (f32, f32),
    /// Offset of the irises, in head units.
    pub gaze: (f32, f32),
}

/// One lamp and the light of the room.
#[derive(Clone, Debug, PartialEq)]
pub struct Light {
    pub seed: u64,
    /// Unit vector towards the lamp: right, down, towards the camera.
    pub direction: [f32; 3],
    pub ambient: f32,
    pub diffuse: f32,
    /// Colour cast, a factor per channel.
    pub tint: Rgb,
}

/// What is behind the person.
#[derive(Clone, Debug, PartialEq)]
pub struct Backdrop {
    pub seed: u64,
    pub top: Rgb,
    pub bottom: Rgb,
    /// Out-of-focus shapes: centre and radius as shares of the side, and how much lighter (or darker) they are.
    pub shapes: Vec<(f32, f32, f32, f32)>,
}

/// The sensor and what follows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Camera {
    /// Seed of the noise field that this sensor adds to every picture of the scene.
    pub seed: u64,
    /// Seed of the small noise that is new in every exposure.
    pub exposure: u64,
    /// Standard deviation of the fixed noise, in grey levels.
    pub grain: f32,
    /// Standard deviation of the new noise, in grey levels.
    pub fresh: f32,
    /// Standard deviation of the defocus, as a share of the picture's side.
    pub defocus: f32,
    /// JPEG quality, 1 to 100.
    pub quality: u8,
}

impl Scene {
    /// A random scene: some person with some expression.
    pub fn sample(seed: u64) -> Self {
        let label = Label::ALL[Rng::new(seed, "label").below(Label::ALL.len())];
        Self::of(derive(seed, "person"), label, seed)
    }

    /// A random picture of a given person with a given expression.
    pub fn of(identity: u64, label: Label, seed: u64) -> Self {
        Self {
            identity: Identity::from_seed(identity),
            expression: Expression::sample(label, derive(seed, "act")),
            pose: Pose::sample(derive(seed, "pose")),
            light: Light::sample(derive(seed, "light")),
            backdrop: Backdrop::sample(derive(seed, "backdrop")),
            camera: Camera::sample(derive(seed, "camera"), derive(seed, "exposure")),
        }
    }
}

impl Pose {
    /// A head roughly facing the camera.
    pub fn sample(seed: u64) -> Self {
        let rng = &mut Rng::new(seed, "pose");
        Self {
            seed,
            yaw: rng.normal(0.0, 0.10).clamp(-0.24, 0.24),
            pitch: rng.normal(0.0, 0.05).clamp(-0.12, 0.12),
            roll: rng.normal(0.0, 0.045).clamp(-0.11, 0.11),
            scale: rng.range(0.455, 0.51),
            shift: (rng.normal(0.0, 0.016), rng.normal(0.012, 0.014)),
            gaze: (
                rng.normal(0.0, 0.016).clamp(-0.04, 0.04),
                rng.normal(0.0, 0.008).clamp(-0.02, 0.02),
            ),
        }
    }
}

impl Light {
    /// A lamp above, in front, and to one side.
    pub fn sample(seed: u64) -> Self {
        let rng = &mut Rng::new(seed, "light");
        let direction = [rng.normal(0.0, 0.38), rng.range(-0.65, -0.15), 1.0];
        let length = direction.iter().map(|part| part * part).sum::<f32>().sqrt();
        let ambient = rng.range(0.42, 0.6);
        let warmth = rng.normal(0.0, 0.03);
        Self {
            seed,
            direction: direction.map(|part| part / length),
            ambient,
            diffuse: rng.range(0.98, 1.1) - ambient,
            tint: [1.0 + warmth, 1.0, 1.0 - warmth],
        }
    }
}

impl Backdrop {
    /// A wall or a blurred room.
    pub fn sample(seed: u64) -> Self {
        let rng = &mut Rng::new(seed, "backdrop");
        let base = rng.range(70.0, 200.0);
        let top = [0, 1, 2].map(|_| (base + rng.normal(0.0, 14.0)).clamp(45.0, 210.0));
        let fall = rng.range(-28.0, 20.0);
        let bottom = top.map(|channel| (channel + fall).clamp(45.0, 210.0));
        let count = if rng.chance(0.6) { 2 + rng.below(4) } else { 0 };
        let shapes = (0..count)
            .map(|_| {
                (
                    rng.unit(),
                    rng.range(0.0, 0.9),
                    rng.range(0.08, 0.3),
                    rng.normal(0.0, 22.0),
                )
            })
            .collect();
        Self {
            seed,
            top,
            bottom,
            shapes,
        }
    }
}

impl Camera {
    /// A camera: `seed` fixes the sensor, `exposure` the noise of this one picture.
    pub fn sample(seed: u64, exposure: u64) -> Self {
        let rng = &mut Rng::new(seed, "camera");
        Self {
            seed,
            exposure,
            grain: rng.range(11.0, 14.0),
            fresh: rng.range(2.7, 3.5),
            defocus: rng.range(0.0, 0.0035),
            quality: 88 + rng.below(8) as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenes_are_deterministic() {
        assert_eq!(Scene::sample(5), Scene::sample(5));
        assert_ne!(Scene::sample(5), Scene::sample(6));
    }

    #[test]
    fn parts_of_a_scene_vary_independently() {
        let (first, second) = (Scene::of(1, Label::Sad, 7), Scene::of(2, Label::Happy, 7));
        assert_eq!(
            (first.pose, first.light, first.backdrop, first.camera),
            (second.pose, second.light, second.backdrop, second.camera)
        );
        assert_ne!(first.identity, second.identity);
    }
}
