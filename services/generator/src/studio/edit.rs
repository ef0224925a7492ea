//! Edits of the studio's own pictures, good ones and spoilt ones.

use image::RgbImage;

use super::expression::{Expression, Label};
use super::faults::{Fault, FaultRates};
use super::identity::Identity;
use super::record::SceneRecord;
use super::render::{blurred, render, render_pair};
use super::rng::{Rng, derive};
use super::scene::{Camera, Pose, Scene};
use super::{StudioError, encode};

/// An edited picture and the truth about it.
#[derive(Clone, Debug)]
pub struct Edited {
    /// The picture, without its scene.
    pub jpeg: Vec<u8>,
    /// Side of the square picture in pixels.
    pub size: u32,
    /// What is wrong with it.
    pub fault: Fault,
    /// The expression it shows.
    pub shown: Label,
}

/// The scene with another expression: same person, pose, light, backdrop and sensor; a new exposure.
pub fn edit(source: &Scene, target: Label, seed: u64) -> Scene {
    let mut scene = source.clone();
    scene.expression = Expression::sample(target, derive(seed, "edit"));
    scene.camera.exposure = derive(seed, "edit exposure");
    scene
}

/// Edits a picture of the data set from its bytes alone. The same arguments give the same bytes.
///
/// # Errors
/// [`StudioError::NotJpeg`], [`StudioError::NoScene`], [`StudioError::Damaged`] or [`StudioError::Size`] when the source
/// is not a picture of the studio's data set, [`StudioError::Rates`] for unsound rates.
pub fn edit_image(
    source_jpeg: &[u8],
    target: Label,
    seed: u64,
    rates: &FaultRates,
) -> Result<Edited, StudioError> {
    rates.validate()?;
    let record = SceneRecord::extract(source_jpeg)?;
    let source = record.scene();
    let fault = rates.choose(seed);
    let shown = match fault {
        Fault::Unchanged => record.label,
        Fault::WrongExpression => other_than(target, seed),
        _ => target,
    };
    let picture = picture(&source, &record, fault, shown, seed);
    // Near-duplicates differ by no more than how they were encoded.
    let coarser = if fault == Fault::NearDuplicate {
        (seed % 3) as u8
    } else {
        0
    };
    let quality = source.camera.quality.saturating_sub(coarser);
    Ok(Edited {
        jpeg: encode(&picture, quality)?,
        size: record.size,
        fault,
        shown,
    })
}

fn picture(
    source: &Scene,
    record: &SceneRecord,
    fault: Fault,
    shown: Label,
    seed: u64,
) -> RgbImage {
    let size = record.size;
    match fault {
        Fault::None | Fault::WrongExpression => render(&edit(source, shown, seed), size),
        Fault::NearDuplicate => render(
            &edit(source, shown, derive(record.exposure, shown.name())),
            size,
        ),
        Fault::Unchanged => render(source, size),
        Fault::Blurred => {
            let sigma = Rng::new(seed, "blur").range(0.016, 0.028) * size as f32;
            blurred(&render(&edit(source, shown, seed), size), sigma)
        }
        Fault::OtherIdentity => render(&stranger(source, shown, seed), size),
        Fault::TwoFaces => {
            let (first, second) = crowd(source, shown, seed);
            render_pair(&first, &second, size)
        }
    }
}

/// Another person in the source's place. Nothing of the source's pixels is left, not even its noise.
fn stranger(source: &Scene, shown: Label, seed: u64) -> Scene {
    let mut scene = edit(source, shown, seed);
    scene.identity = Identity::from_seed(derive(seed, "stranger"));
    scene.camera = Camera::sample(derive(seed, "other camera"), scene.camera.exposure);
    scene
}

/// The source's person moved aside for a second one.
fn crowd(source: &Scene, shown: Label, seed: u64) -> (Scene, Scene) {
    let rng = &mut Rng::new(seed, "crowd");
    let mut first = edit(source, shown, seed);
    first.camera = Camera::sample(derive(seed, "other camera"), first.camera.exposure);
    let mut second = first.clone();
    second.identity = Identity::from_seed(derive(seed, "second person"));
    second.expression = Expression::sample(shown, derive(seed, "second expression"));
    second.pose = Pose::sample(derive(seed, "second pose"));
    let side = if rng.chance(0.5) { 1.0 } else { -1.0 };
    for (scene, side) in [(&mut first, side), (&mut second, -side)] {
        scene.pose.scale = rng.range(0.225, 0.26);
        scene.pose.shift.0 = side * rng.range(0.22, 0.255);
        scene.pose.shift.1 += rng.range(0.0, 0.08);
    }
    (first, second)
}

fn other_than(target: Label, seed: u64) -> Label {
    let others: Vec<Label> = Label::ALL
        .into_iter()
        .filter(|&label| label != target)
        .collect();
    others[Rng::new(seed, "wrong").below(others.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> (Scene, Vec<u8>) {
        let scene = Scene::of(40, Label::Neutral, 41);
        let jpeg = encode(&render(&scene, 96), scene.camera.quality).unwrap();
        let marked = SceneRecord::of(&scene, 96).embed(&jpeg).unwrap();
        (scene, marked)
    }

    fn pixels(jpeg: &[u8]) -> RgbImage {
        image::load_from_memory(jpeg).unwrap().to_rgb8()
    }

    #[test]
    fn edits_keep_all_but_expression_and_exposure() {
        let (scene, _) = source();
        let edited = edit(&scene, Label::Fear, 5);
        assert_eq!(edited.identity, scene.identity);
        assert_eq!(
            (edited.pose, edited.light, edited.backdrop),
            (scene.pose, scene.light, scene.backdrop)
        );
        assert_eq!(edited.expression.label, Label::Fear);
        assert_eq!(
            (edited.camera.seed, edited.camera.grain),
            (scene.camera.seed, scene.camera.grain)
        );
        assert_ne!(edited.camera.exposure, scene.camera.exposure);
    }

    #[test]
    fn edits_carry_no_scene() {
        let (_, jpeg) = source();
        for fault in Fault::ALL.into_iter().chain([Fault::None]) {
            let edited = edit_image(&jpeg, Label::Anger, 8, &FaultRates::always(fault)).unwrap();
            assert_eq!(edited.fault, fault);
            assert!(matches!(
                SceneRecord::extract(&edited.jpeg),
                Err(StudioError::NoScene)
            ));
        }
    }

    #[test]
    fn edits_are_deterministic_and_faults_differ_from_good_edits() {
        let (_, jpeg) = source();
        let good = edit_image(&jpeg, Label::Sad, 8, &FaultRates::none()).unwrap();
        assert_eq!(
            good.jpeg,
            edit_image(&jpeg, Label::Sad, 8, &FaultRates::none())
                .unwrap()
                .jpeg
        );
        for fault in Fault::ALL {
            let spoilt = edit_image(&jpeg, Label::Sad, 8, &FaultRates::always(fault)).unwrap();
            assert_ne!(spoilt.jpeg, good.jpeg, "{fault:?}");
        }
    }

    #[test]
    fn wrong_expressions_are_never_the_target() {
        for seed in 0..300 {
            assert_ne!(other_than(Label::Fear, seed), Label::Fear);
        }
    }

    #[test]
    fn unchanged_is_the_source_and_near_duplicates_are_alike() {
        let (_, jpeg) = source();
        let distance = |a: &[u8], b: &[u8]| {
            let (a, b) = (pixels(a), pixels(b));
            a.pixels()
                .zip(b.pixels())
                .map(|(a, b)| u32::from(a.0[1].abs_diff(b.0[1])))
                .sum::<u32>()
                / (96 * 96)
        };
        let unchanged =
            edit_image(&jpeg, Label::Sad, 9, &FaultRates::always(Fault::Unchanged)).unwrap();
        assert!(distance(&unchanged.jpeg, &jpeg) <= 3);
        assert_eq!(unchanged.shown, Label::Neutral);
        let twin = |seed| {
            edit_image(
                &jpeg,
                Label::Sad,
                seed,
                &FaultRates::always(Fault::NearDuplicate),
            )
            .unwrap()
            .jpeg
        };
        assert!(distance(&twin(1), &twin(2)) <= 3);
        assert_ne!(twin(1), twin(2));
    }

    #[test]
    fn pictures_without_a_scene_are_refused() {
        let plain = encode(&render(&Scene::sample(1), 64), 90).unwrap();
        assert!(matches!(
            edit_image(&plain, Label::Sad, 1, &FaultRates::none()),
            Err(StudioError::NoScene)
        ));
        assert!(matches!(
            edit_image(b"\x89PNG", Label::Sad, 1, &FaultRates::none()),
            Err(StudioError::NotJpeg)
        ));
    }
}
