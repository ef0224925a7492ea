//! Counts the frames of an animation, or the pages of a TIFF, from its structure and without decoding any.

use image::ImageFormat;

/// Whether the file declares more than `limit` frames. A file too broken to count is left to its decoder.
pub(crate) fn more_than(bytes: &[u8], format: ImageFormat, limit: u32) -> bool {
    let count = match format {
        ImageFormat::Gif => gif(bytes, limit),
        ImageFormat::Png => png(bytes),
        ImageFormat::WebP => webp(bytes),
        ImageFormat::Tiff => tiff(bytes, limit),
        _ => None,
    };
    count.is_some_and(|frames| frames > limit)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Size in bytes of the colour table that the packed field of a GIF descriptor announces.
fn colour_table(packed: u8) -> usize {
    if packed & 0x80 == 0 {
        0
    } else {
        3 << ((packed & 7) + 1)
    }
}

/// GIF89a: image descriptors up to the trailer; stops early once past `limit`.
fn gif(bytes: &[u8], limit: u32) -> Option<u32> {
    let mut at = 13 + colour_table(*bytes.get(10)?);
    let mut frames = 0;
    while frames <= limit {
        match bytes.get(at) {
            Some(0x21) => at += 2,
            Some(0x2C) => {
                frames += 1;
                at += 11 + colour_table(*bytes.get(at + 9)?);
            }
            _ => return Some(frames),
        }
        // Sub-blocks, each led by its length, the last one empty.
        loop {
            let length = usize::from(*bytes.get(at)?);
            at += 1 + length;
            if length == 0 {
                break;
            }
        }
    }
    Some(frames)
}

/// APNG: `num_frames` of the `acTL` chunk, which stands before the first `IDAT`.
fn png(bytes: &[u8]) -> Option<u32> {
    let mut at = 8;
    loop {
        let length = u32::from_be_bytes(array(bytes, at)?) as usize;
        match &array::<4>(bytes, at + 4)? {
            b"acTL" => return Some(u32::from_be_bytes(array(bytes, at + 8)?)),
            b"IDAT" | b"IEND" => return None,
            _ => at = at.checked_add(length)?.checked_add(12)?,
        }
    }
}

/// Animated WebP: `ANMF` chunks of the RIFF container.
fn webp(bytes: &[u8]) -> Option<u32> {
    let mut at = 12;
    let mut frames = 0;
    while let Some(name) = array::<4>(bytes, at) {
        frames += u32::from(&name == b"ANMF");
        let length = u32::from_le_bytes(array(bytes, at + 4)?) as usize;
        at = at
            .checked_add(8)?
            .checked_add(length)?
            .checked_add(length & 1)?;
    }
    Some(frames)
}

/// Whether a RIFF file holds the bytes that its header announces.
pub(crate) fn riff_is_whole(bytes: &[u8]) -> bool {
    array(bytes, 4).is_some_and(|size| u32::from_le_bytes(size) as usize <= bytes.len() - 8)
}

/// TIFF and BigTIFF: the chain of image file directories; stops early once past `limit`, which also ends a loop.
fn tiff(bytes: &[u8], limit: u32) -> Option<u32> {
    let little = bytes.starts_with(b"II");
    let number = |at: usize, width: usize| -> Option<usize> {
        let digits = bytes.get(at..at.checked_add(width)?)?;
        let shift = |value: u64, &digit: &u8| (value << 8) | u64::from(digit);
        let value = if little {
            digits.iter().rev().fold(0, shift)
        } else {
            digits.iter().fold(0, shift)
        };
        usize::try_from(value).ok()
    };
    let big = number(2, 2)? == 43;
    let (first, count_width, entry, offset_width) = if big { (8, 8, 20, 8) } else { (4, 2, 12, 4) };
    let mut at = number(first, offset_width)?;
    let mut frames = 0;
    while at != 0 && frames <= limit {
        frames += 1;
        let entries = number(at, count_width)?.checked_mul(entry)?;
        at = number(
            at.checked_add(count_width)?.checked_add(entries)?,
            offset_width,
        )?;
    }
    Some(frames)
}
