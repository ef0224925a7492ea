//! Equality with the reference implementations, on the numbers that `fixtures/make.py` wrote.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;

use saga_imaging::{
    DecodeLimits, Filter, RgbImage, decode, grey, laplacian_variance, phash, resize, resize_grey,
    ssim, ssim_map,
};
use serde_json::Value;

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name),
    )
    .unwrap()
}

fn picture(name: &str) -> RgbImage {
    decode(&bytes(name), &DecodeLimits::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn expected(key: &str) -> Value {
    serde_json::from_slice::<Value>(&bytes("expected.json")).unwrap()[key].take()
}

fn worst_difference(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn decoding_gives_pillows_pixels() {
    for case in expected("decode").as_array().unwrap() {
        let (file, reference) = (
            case["file"].as_str().unwrap(),
            case["expected"].as_str().unwrap(),
        );
        let (ours, theirs) = (picture(file), picture(reference));
        assert_eq!(ours.dimensions(), theirs.dimensions(), "{file}");
        let worst = u64::from(worst_difference(&ours, &theirs));
        assert!(
            worst <= case["tolerance"].as_u64().unwrap(),
            "{file}: {worst} levels"
        );
    }
}

#[test]
fn grey_is_pillows_luma() {
    for (file, sum) in expected("grey_sum").as_object().unwrap() {
        let ours: u64 = grey(&picture(file))
            .iter()
            .map(|&level| u64::from(level))
            .sum();
        assert_eq!(ours, sum.as_u64().unwrap(), "{file}");
    }
}

#[test]
fn resizing_is_pillows_to_the_bit() {
    for case in expected("resize").as_array().unwrap() {
        let filter = match case["filter"].as_str().unwrap() {
            "bilinear" => Filter::Bilinear,
            "bicubic" => Filter::Bicubic,
            _ => Filter::Lanczos3,
        };
        let (width, height) = (
            case["width"].as_u64().unwrap() as u32,
            case["height"].as_u64().unwrap() as u32,
        );
        let ours = resize(&picture("a.png"), width, height, filter);
        let worst = worst_difference(&ours, &picture(case["file"].as_str().unwrap()));
        assert_eq!(worst, 0, "{case}: {worst} levels");
    }
}

#[test]
fn ssim_is_scikit_images_to_a_millionth() {
    for case in expected("ssim").as_array().unwrap() {
        let (a, b) = (
            picture(case[0].as_str().unwrap()),
            picture(case[1].as_str().unwrap()),
        );
        let ours = ssim(&grey(&a), &grey(&b)).unwrap();
        assert!(
            (ours - case[2].as_f64().unwrap()).abs() < 1e-6,
            "{case}: {ours}"
        );
    }
}

#[test]
fn the_ssim_map_is_scikit_images_without_its_border() {
    let case = expected("ssim_map");
    let (a, b) = (grey(&picture("a.png")), grey(&picture("b.png")));
    let (mean, map) = ssim_map(&a, &b).unwrap();
    assert_eq!(mean, ssim(&a, &b).unwrap());
    let width = a.width() as usize - 6;
    assert_eq!(map.len(), width * (a.height() as usize - 6));
    for point in case.as_array().unwrap() {
        let [x, y] = [0, 1].map(|axis| point[axis].as_u64().unwrap() as usize);
        let found = f64::from(map[y * width + x]);
        assert!(
            (found - point[2].as_f64().unwrap()).abs() < 1e-6,
            "{point}: {found}"
        );
    }
}

#[test]
fn ssim_after_resizing_to_the_reference_agrees() {
    let case = expected("ssim_resized");
    let a = grey(&picture(case[0].as_str().unwrap()));
    let other = grey(&picture(case[1].as_str().unwrap()));
    let ours = ssim(
        &a,
        &resize_grey(&other, a.width(), a.height(), Filter::Bicubic),
    )
    .unwrap();
    assert!(
        (ours - case[2].as_f64().unwrap()).abs() < 1e-6,
        "{case}: {ours}"
    );
}

#[test]
fn phash_has_imagehashs_bits() {
    for (file, hash) in expected("phash").as_object().unwrap() {
        let theirs = u64::from_str_radix(hash.as_str().unwrap(), 16).unwrap();
        let ours = phash(&grey(&picture(file)));
        assert_eq!(ours, theirs, "{file}: {ours:016x}, not {hash}");
    }
}

#[test]
fn laplacian_variance_is_opencvs() {
    for (file, variance) in expected("laplacian").as_object().unwrap() {
        let (ours, theirs) = (
            laplacian_variance(&grey(&picture(file))),
            variance.as_f64().unwrap(),
        );
        assert!(
            (ours / theirs - 1.0).abs() < 1e-6,
            "{file}: {ours}, not {theirs}"
        );
    }
}
