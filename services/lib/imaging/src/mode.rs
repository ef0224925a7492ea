//! How an encoded image keeps its pixels, from its header alone.

use std::io::{BufRead, Seek};

use image::{ExtendedColorType, ImageDecoder as _, ImageReader};

/// The mode by Pillow's name, for example "L" or "RGB"; `None` of bytes that are no image, and of modes without a name here.
pub fn mode(file: impl BufRead + Seek) -> Option<&'static str> {
    let reader = ImageReader::new(file).with_guessed_format().ok()?;
    match reader.into_decoder().ok()?.original_color_type() {
        ExtendedColorType::L1 => Some("1"),
        ExtendedColorType::L8 => Some("L"),
        ExtendedColorType::L16 => Some("I;16"),
        ExtendedColorType::La8 => Some("LA"),
        ExtendedColorType::Rgb8 => Some("RGB"),
        ExtendedColorType::Rgba8 => Some("RGBA"),
        ExtendedColorType::Cmyk8 => Some("CMYK"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{DynamicImage, ImageFormat};

    use super::*;

    #[test]
    fn modes_have_the_names_of_pillow() {
        let of = |picture: DynamicImage, format| {
            let mut file = Cursor::new(Vec::new());
            picture.write_to(&mut file, format).unwrap();
            file.set_position(0);
            mode(file)
        };
        let pixel = DynamicImage::new_rgb8(1, 1);
        assert_eq!(of(pixel.clone(), ImageFormat::Jpeg), Some("RGB"));
        assert_eq!(of(pixel.to_luma8().into(), ImageFormat::Jpeg), Some("L"));
        assert_eq!(of(pixel.to_rgba8().into(), ImageFormat::Png), Some("RGBA"));
        assert_eq!(of(pixel.to_luma16().into(), ImageFormat::Png), Some("I;16"));
        assert_eq!(mode(Cursor::new(b"no image")), None);
    }
}
