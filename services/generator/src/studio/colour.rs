//! Colours as the renderer mixes them.

/// A colour in display space, each channel in `[0, 255]`.
pub(crate) type Rgb = [f32; 3];

/// `first` at 0, `second` at 1.
pub(crate) fn mixed(first: Rgb, second: Rgb, share: f32) -> Rgb {
    [0, 1, 2].map(|channel| first[channel] + (second[channel] - first[channel]) * share)
}
