//! Everything that is not a whole picture within its limits is refused, by name, and nothing panics.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;

use proptest::prelude::*;
use saga_imaging::{DecodeError, DecodeLimits, decode};

const FILES: [&str; 15] = [
    "rgb.jpg",
    "progressive.jpg",
    "grey.jpg",
    "cmyk.jpg",
    "restart.jpg",
    "exif6.jpg",
    "lossy.webp",
    "lossless.webp",
    "rgb.bmp",
    "lzw.tiff",
    "palette.gif",
    "palette.png",
    "alpha.png",
    "deep.png",
    "animated.webp",
];

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name),
    )
    .unwrap()
}

fn decoded(bytes: &[u8]) -> Result<image::RgbImage, DecodeError> {
    decode(bytes, &DecodeLimits::default())
}

/// A PNG that is all header: it declares `width` x `height` and holds nothing.
fn png_declaring(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend([width.to_be_bytes(), height.to_be_bytes()].concat());
    header.extend([8, 2, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    file.extend(&header);
    file.extend(crc32(&header).to_be_bytes());
    file.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| {
        if crc & 1 == 1 {
            (crc >> 1) ^ 0xEDB8_8320
        } else {
            crc >> 1
        }
    };
    !bytes
        .iter()
        .fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

#[test]
fn no_bytes_are_empty_and_text_is_not_an_image() {
    assert_eq!(decoded(b""), Err(DecodeError::Empty));
    assert_eq!(
        decoded(b"pth,label\nhappy.jpg,1\n"),
        Err(DecodeError::NotAnImage)
    );
    let icon = decoded(b"\0\0\x01\0\x01\0\x10\x10");
    assert!(
        matches!(icon, Err(DecodeError::Unsupported { .. })),
        "{icon:?}"
    );
}

#[test]
fn a_jpeg_whose_header_states_no_rows_is_malformed() {
    for name in ["rgb.jpg", "grey.jpg", "cmyk.jpg", "progressive.jpg"] {
        let mut file = bytes(name);
        let frame = file
            .windows(2)
            .position(|marker| matches!(marker, [0xFF, 0xC0..=0xC2]))
            .unwrap();
        // Behind the marker, the segment's length and the precision.
        file[frame + 5..frame + 7].fill(0);
        let error = decoded(&file).unwrap_err();
        assert!(error.to_string().contains("x0 pixels"), "{name}: {error}");
    }
}

#[test]
fn a_png_bomb_is_refused_by_what_it_declares() {
    let limits = DecodeLimits::default();
    let error = decoded(&png_declaring(60_000, 60_000));
    assert_eq!(
        error,
        Err(DecodeError::SideTooLong {
            width: 60_000,
            height: 60_000,
            limit: limits.max_side
        })
    );
    let error = decoded(&png_declaring(10_000, 10_000));
    assert_eq!(
        error,
        Err(DecodeError::TooManyPixels {
            width: 10_000,
            height: 10_000,
            limit: limits.max_pixels
        })
    );
}

#[test]
fn limits_are_inclusive() {
    let file = bytes("rgb.jpg");
    let exact = DecodeLimits {
        max_bytes: file.len(),
        max_pixels: 61 * 47,
        max_side: 61,
        max_frames: 1,
    };
    assert!(decode(&file, &exact).is_ok());
    let below = DecodeLimits {
        max_bytes: file.len() - 1,
        ..exact
    };
    assert_eq!(
        decode(&file, &below),
        Err(DecodeError::TooManyBytes {
            bytes: file.len(),
            limit: file.len() - 1
        })
    );
    let below = DecodeLimits {
        max_pixels: 61 * 47 - 1,
        ..exact
    };
    assert!(matches!(
        decode(&file, &below),
        Err(DecodeError::TooManyPixels {
            width: 61,
            height: 47,
            ..
        })
    ));
    let below = DecodeLimits {
        max_side: 60,
        ..exact
    };
    assert!(matches!(
        decode(&file, &below),
        Err(DecodeError::SideTooLong { limit: 60, .. })
    ));
}

#[test]
fn frames_are_counted_and_the_first_is_decoded() {
    for name in [
        "animated.gif",
        "animated.webp",
        "animated.png",
        "pages.tiff",
    ] {
        let enough = DecodeLimits {
            max_frames: 3,
            ..DecodeLimits::default()
        };
        assert_eq!(
            decode(&bytes(name), &enough).unwrap().dimensions(),
            (16, 12),
            "{name}"
        );
        let fewer = DecodeLimits {
            max_frames: 2,
            ..enough
        };
        assert_eq!(
            decode(&bytes(name), &fewer),
            Err(DecodeError::TooManyFrames { limit: 2 }),
            "{name}"
        );
    }
}

/// Half a picture is never passed off as a whole one, wherever the file is cut.
#[test]
fn every_cut_is_an_error_or_leaves_the_picture_whole() {
    for name in FILES {
        let file = bytes(name);
        let whole = decoded(&file).unwrap();
        for length in 0..file.len() {
            if let Ok(picture) = decoded(&file[..length]) {
                assert!(
                    picture == whole,
                    "{name} cut to {length} of {} bytes",
                    file.len()
                );
            }
        }
    }
}

#[test]
fn every_cut_jpeg_is_truncated() {
    for name in ["rgb.jpg", "progressive.jpg", "restart.jpg"] {
        let file = bytes(name);
        for length in 4..file.len() {
            let error = decoded(&file[..length]);
            assert_eq!(
                error,
                Err(DecodeError::Truncated { format: "JPEG" }),
                "{name} cut to {length}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_never_panic(
        file in 0..FILES.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut file = bytes(FILES[file]);
        for (at, value) in edits {
            let at = at.index(file.len());
            file[at] = value;
        }
        if let Err(error) = decoded(&file) {
            prop_assert!(!error.to_string().contains("its decoder gave up"), "{error}");
        }
        let _ = decoded(&file[..cut.index(file.len())]);
    }
}
