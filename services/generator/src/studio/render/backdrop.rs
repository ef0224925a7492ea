//! The wall or blurred room behind the person.

use super::canvas::{Canvas, Ink};
use crate::studio::colour::mixed;
use crate::studio::scene::Backdrop;

pub(super) fn draw(canvas: &mut Canvas, backdrop: &Backdrop) {
    let size = canvas.size;
    for (row, line) in canvas.pixels.chunks_exact_mut(size.max(1)).enumerate() {
        line.fill(mixed(
            backdrop.top,
            backdrop.bottom,
            row as f32 / size as f32,
        ));
    }
    let side = size as f32;
    for &(x, y, radius, level) in &backdrop.shapes {
        let tone = backdrop
            .top
            .map(|channel| (channel + level).clamp(35.0, 220.0));
        canvas.spot(
            (x * side, y * side),
            (radius * side, radius * side * 1.3),
            0.0,
            Ink::Paint(tone),
            1.0,
        );
    }
}
