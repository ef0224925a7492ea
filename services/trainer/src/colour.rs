//! Operations on the colours of 8-bit images `[3, H, W]`, with the arithmetic of torchvision's `transforms.functional` on
//! tensors, whose names they have.

/// All values times a factor.
pub fn brightness(bytes: &[u8], factor: f64) -> Vec<u8> {
    bytes.iter().map(|&byte| blend(byte, 0.0, factor)).collect()
}

/// Away from grey (above 1) or towards it.
pub fn saturation(bytes: &[u8], factor: f64) -> Vec<u8> {
    let grey = grey(bytes);
    let mixed = |plane: &[u8]| -> Vec<u8> {
        let pairs = plane.iter().zip(&grey);
        pairs
            .map(|(&byte, &grey)| blend(byte, f32::from(grey), factor))
            .collect()
    };
    planes(bytes).flat_map(mixed).collect()
}

/// Away from the mean of the grey image, or towards it.
pub fn contrast(bytes: &[u8], factor: f64) -> Vec<u8> {
    let grey = grey(bytes);
    let sum: u64 = grey.iter().map(|&value| u64::from(value)).sum();
    let mean = (sum as f64 / grey.len().max(1) as f64) as f32;
    bytes
        .iter()
        .map(|&byte| blend(byte, mean, factor))
        .collect()
}

/// Away from the image smoothed over 3 x 3 pixels, or towards it; the border is not smoothed.
pub fn sharpness(bytes: &[u8], side: usize, factor: f64) -> Vec<u8> {
    let mut image = bytes.to_vec();
    if side <= 2 {
        return image;
    }
    let plane = side * side;
    for (new, old) in image.chunks_exact_mut(plane).zip(bytes.chunks_exact(plane)) {
        for place in 0..plane {
            let (x, y) = (place % side, place / side);
            let inner = (1..side - 1).contains(&x) && (1..side - 1).contains(&y);
            let smooth = if inner {
                let around = (0..9).map(|near| (y + near / 3 - 1) * side + x + near % 3 - 1);
                let sum: u32 = around.map(|near| u32::from(old[near])).sum();
                let sum = sum + 4 * u32::from(old[place]);
                (sum as f32 / 13.0).round_ties_even()
            } else {
                f32::from(old[place])
            };
            new[place] = blend(old[place], smooth, factor);
        }
    }
    image
}

/// The highest `bits` bits alone.
pub fn posterize(bytes: &[u8], bits: u32) -> Vec<u8> {
    let mask = 0xffu8.checked_shl(8u32.saturating_sub(bits)).unwrap_or(0);
    bytes.iter().map(|&byte| byte & mask).collect()
}

/// Values of `threshold` and above inverted.
pub fn solarize(bytes: &[u8], threshold: f32) -> Vec<u8> {
    let inverted = |&byte: &u8| {
        if f32::from(byte) >= threshold {
            255 - byte
        } else {
            byte
        }
    };
    bytes.iter().map(inverted).collect()
}

/// Each channel stretched from its least and largest value to 0 to 255.
pub fn auto_contrast(bytes: &[u8]) -> Vec<u8> {
    let stretched = |plane: &[u8]| -> Vec<u8> {
        let least = plane.iter().min().copied().unwrap_or(0);
        let most = plane.iter().max().copied().unwrap_or(0);
        if least == most {
            return plane.to_vec();
        }
        let scale = 255.0 / f32::from(most - least);
        plane
            .iter()
            .map(|&byte| (f32::from(byte - least) * scale).clamp(0.0, 255.0) as u8)
            .collect()
    };
    planes(bytes).flat_map(stretched).collect()
}

/// Each channel mapped so that its values are about equally frequent.
pub fn equalize(bytes: &[u8]) -> Vec<u8> {
    let levelled = |plane: &[u8]| -> Vec<u8> {
        let mut counts = [0usize; 256];
        plane
            .iter()
            .for_each(|&byte| counts[usize::from(byte)] += 1);
        let last = plane
            .iter()
            .max()
            .map_or(0, |&most| counts[usize::from(most)]);
        let step = (plane.len() - last) / 255;
        if step == 0 {
            return plane.to_vec();
        }
        let mut below = 0;
        let levels = counts.map(|count| {
            let level = ((below + step / 2) / step).min(255);
            below += count;
            level as u8
        });
        plane
            .iter()
            .map(|&byte| levels[usize::from(byte)])
            .collect()
    };
    planes(bytes).flat_map(levelled).collect()
}

/// `share` of a value and the rest of another, cut to whole numbers as torchvision does.
fn blend(byte: u8, other: f32, share: f64) -> u8 {
    (share as f32 * f32::from(byte) + (1.0 - share) as f32 * other).clamp(0.0, 255.0) as u8
}

/// ITU-R BT.601 luma, cut to whole numbers.
fn grey(bytes: &[u8]) -> Vec<u8> {
    let (red, rest) = bytes.split_at(bytes.len() / 3);
    let (green, blue) = rest.split_at(rest.len() / 2);
    let pixels = red.iter().zip(green).zip(blue);
    pixels
        .map(|((&red, &green), &blue)| {
            (0.2989 * f32::from(red) + 0.587 * f32::from(green) + 0.114 * f32::from(blue)) as u8
        })
        .collect()
}

/// The three channels.
fn planes(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks_exact((bytes.len() / 3).max(1))
}
