//! Tests of the editor as a whole, on drawn faces.

use image::Rgb;

use super::*;

/// A drawn face: `smile` bends the mouth, `tone` lights the skin.
fn drawn(width: u32, height: u32, smile: f32, tone: f32) -> RgbImage {
    let template = Frame::new(face::TEMPLATE.width, face::TEMPLATE.height);
    let frame = Frame::new(width as usize, height as usize);
    RgbImage::from_fn(width, height, |column, row| {
        let (x, y) = frame.to_unit((column as f32, row as f32));
        let (u, v) = template.to_pixel((x, y));
        let lips = (y - 0.29 + smile * (x * x * 4.0 - 0.04)) / 0.02;
        let mouth = if x.abs() < 0.16 {
            -70.0 * (-lips * lips).exp()
        } else {
            0.0
        };
        Rgb([(tone + 50.0 * face::TEMPLATE.bilinear(u, v) + mouth).clamp(0.0, 255.0) as u8; 3])
    })
}

fn settings() -> Settings {
    Settings {
        strength: 0.9..=1.0,
        regions: None,
        min_correlation: 0.3,
    }
}

fn grey(raster: &Raster) -> &image::GrayImage {
    match raster {
        Raster::Grey(image) => image,
        Raster::Rgb(_) => panic!("grey became colour"),
    }
}

#[test]
fn the_edit_moves_the_mouth_towards_the_exemplar_and_leaves_the_rest() {
    let (source, target) = (drawn(120, 120, -1.0, 120.0), drawn(100, 100, 1.5, 150.0));
    let mouth = Settings {
        regions: Some("mouth".parse().unwrap()),
        ..settings()
    };
    let edit = edit(&source, &[target], 3, &mouth).unwrap();
    let expected = drawn(120, 120, 1.5, 120.0);
    let error = |image: &dyn Fn(u32, u32) -> u8| -> u32 {
        (84..106)
            .flat_map(|y| (40..80).map(move |x| (x, y)))
            .map(|(x, y)| u32::from(image(x, y).abs_diff(expected.get_pixel(x, y).0[0])))
            .sum()
    };
    let edited = grey(&edit.raster);
    let (before, after) = (
        error(&|x, y| source.get_pixel(x, y).0[0]),
        error(&|x, y| edited.get_pixel(x, y).0[0]),
    );
    assert!(after * 2 < before, "{before} {after}");
    for (x, y, pixel) in edited.enumerate_pixels().filter(|(_, y, _)| *y < 60) {
        assert_eq!(pixel.0[0], source.get_pixel(x, y).0[0], "{x} {y}");
    }
}

#[test]
fn the_seed_decides_everything() {
    let source = drawn(90, 90, 0.0, 120.0);
    let exemplars = [
        drawn(90, 90, 1.0, 110.0),
        drawn(80, 100, 1.6, 140.0),
        drawn(60, 60, -1.4, 100.0),
    ];
    let all: Vec<_> = (0..8)
        .map(|seed| edit(&source, &exemplars, seed, &settings()).unwrap())
        .collect();
    for (seed, first) in all.iter().enumerate() {
        assert_eq!(
            &edit(&source, &exemplars, seed as u64, &settings()).unwrap(),
            first
        );
    }
    assert!(all.iter().any(|edit| edit.exemplar != all[0].exemplar));
    assert!(all.iter().any(|edit| edit.regions != all[0].regions));
    assert!(all.iter().all(|edit| (0.9..=1.0).contains(&edit.strength)));
}

#[test]
fn an_exemplar_that_does_not_align_is_passed_over() {
    let source = drawn(90, 90, 0.0, 120.0);
    let noise = RgbImage::from_fn(90, 90, |x, y| {
        Rgb([((x * 7919 + y * 104_729) % 251) as u8; 3])
    });
    let exemplars = [noise.clone(), drawn(90, 90, 1.0, 110.0), noise.clone()];
    for seed in 0..4 {
        assert_eq!(
            edit(&source, &exemplars, seed, &settings())
                .unwrap()
                .exemplar,
            1
        );
    }
    let error = edit(&source, &[noise], 0, &settings()).unwrap_err();
    assert!(
        matches!(error, EditError::NoAlignment { tried: 1, best, .. } if best < 0.3),
        "{error}"
    );
    assert_eq!(
        edit(&source, &[], 0, &settings()).unwrap_err(),
        EditError::NoExemplars
    );
}

#[test]
fn colour_stays_colour_and_keeps_its_chroma_under_grey_exemplars() {
    let mut source = drawn(90, 110, 0.0, 120.0);
    source
        .pixels_mut()
        .for_each(|pixel| pixel.0[2] = pixel.0[2].saturating_sub(40));
    let edited = edit(&source, &[drawn(90, 90, 1.0, 120.0)], 1, &settings()).unwrap();
    let Raster::Rgb(image) = edited.raster else {
        panic!("colour became grey")
    };
    assert_eq!(image.dimensions(), (90, 110));
    assert!(image.pixels().all(|pixel| pixel.0[0] >= pixel.0[2]));
}

#[test]
fn odd_sizes_and_pictures_without_a_face_are_refused_not_panicked_over() {
    let anything = Settings {
        min_correlation: -1.0,
        ..settings()
    };
    let face = drawn(50, 60, 1.0, 120.0);
    for (width, height) in [(1, 1), (1, 40), (33, 2), (9, 11)] {
        let odd = drawn(width, height, 0.0, 120.0);
        for outcome in [
            edit(&odd, std::slice::from_ref(&face), 0, &anything),
            edit(&face, &[odd], 0, &anything),
        ] {
            assert!(
                matches!(
                    outcome,
                    Ok(_) | Err(EditError::NoFace { .. } | EditError::NoAlignment { .. })
                ),
                "{outcome:?}"
            );
        }
    }
    let flat = RgbImage::from_pixel(80, 80, Rgb([99; 3]));
    assert!(matches!(
        edit(&flat, &[face], 0, &anything),
        Err(EditError::NoFace { .. })
    ));
}

#[test]
fn small_faces_keep_their_size() {
    let edited = edit(
        &drawn(27, 41, -1.0, 120.0),
        &[drawn(50, 60, 1.0, 120.0)],
        0,
        &settings(),
    )
    .unwrap();
    assert_eq!(grey(&edited.raster).dimensions(), (27, 41));
}
