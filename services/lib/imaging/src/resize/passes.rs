//! The two passes over the levels, in integers.
//!
//! Both weigh whole rows, which compilers turn into vectors; for the pass across, bands of the picture are turned on their
//! sides and back. 512 x 512 to 224 x 224, bicubic, with AVX-512: 0.16 ms; 0.40 ms while bands were turned four levels at a
//! time and sums lay in memory.

use super::weights::{PRECISION, Stretch, used};
use pulp::{Arch, NullaryFnOnce};

/// Across and then down. `from` has rows of `stride` levels, `channels` of them a pixel; `to` has as many pixels a row as there are
/// `columns`, and as many rows as `rows`. Nothing may be empty.
pub fn across_and_down(
    from: &[u8],
    stride: usize,
    channels: usize,
    columns: &[Stretch],
    rows: &[Stretch],
    to: &mut [u8],
) {
    Arch::new().dispatch(Passes {
        from,
        stride,
        channels,
        columns,
        rows,
        to,
    });
}

/// The arguments of [`across_and_down`], which is compiled for each kind of vector unit, of which the processor's best is taken:
/// what is called below is inlined into it.
struct Passes<'a> {
    from: &'a [u8],
    stride: usize,
    channels: usize,
    columns: &'a [Stretch],
    rows: &'a [Stretch],
    to: &'a mut [u8],
}

impl NullaryFnOnce for Passes<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let used = used(self.rows);
        let from = &self.from[used.start * self.stride..used.end * self.stride];
        let new_stride = self.columns.len() * self.channels;
        let between = self.across(from, new_stride);
        for (row, to) in self.rows.iter().zip(self.to.chunks_exact_mut(new_stride)) {
            let above = (row.start - used.start) * new_stride;
            weigh(&between[above..], &row.weights, to);
        }
    }
}

impl Passes<'_> {
    #[inline(always)]
    fn across(&self, from: &[u8], new_stride: usize) -> Vec<u8> {
        let bands = (from.len() / self.stride).div_ceil(BAND);
        let mut across = vec![0; bands * BAND * new_stride];
        let mut turned = vec![0; BAND * self.stride];
        let mut weighed = vec![0; BAND * new_stride];
        let mut scratch = Scratch::new();
        let pixel = BAND * self.channels;
        let bands = from.chunks(BAND * self.stride);
        for (band, to) in bands.zip(across.chunks_exact_mut(BAND * new_stride)) {
            turn(band, self.stride, &mut turned, &mut scratch);
            for (column, to) in self.columns.iter().zip(weighed.chunks_exact_mut(pixel)) {
                weigh(&turned[column.start * pixel..], &column.weights, to);
            }
            turn_back(&weighed, to, new_stride, &mut scratch);
        }
        across
    }
}

/// Rows of a band. Those of the last that are not there stay whatever they are.
const BAND: usize = 32;

/// Rows between those that are turned together.
const APART: usize = BAND / 4;

/// Levels of each row that are turned at a time: what the nearest cache holds.
const SLICE: usize = 192;

/// Two slices of a band on their way.
#[repr(align(64))]
struct Scratch([[u8; SLICE * BAND]; 2]);

impl Scratch {
    fn new() -> Self {
        Self([[0; SLICE * BAND]; 2])
    }
}

/// Rows of `stride` levels as columns: [rows, stride] to [stride, BAND]. Row h + 2 q + 8 j is the j-th of four, of which the q-th of
/// four is the h-th of two.
#[inline(always)]
fn turn(rows: &[u8], stride: usize, turned: &mut [u8], scratch: &mut Scratch) {
    let last = rows.len() / stride - 1;
    let [first, second] = &mut scratch.0;
    let slices = (0..stride).step_by(SLICE);
    for (start, turned) in slices.zip(turned.chunks_mut(SLICE * BAND)) {
        let size = turned.len();
        let (first, second, length) = (&mut first[..size], &mut second[..size], size / BAND);
        for (row, four) in first.chunks_exact_mut(4 * length).enumerate() {
            let slice = |j: usize| {
                let start = (row + j * APART).min(last) * stride + start;
                &rows[start..start + length]
            };
            interleave_four([0, 1, 2, 3].map(slice), four);
        }
        let (a, b) = first.split_at(size / 2);
        let ((a, b), (c, d)) = (a.split_at(size / 4), b.split_at(size / 4));
        interleave_four([a, b, c, d], second);
        let (a, b) = second.split_at(size / 2);
        for ((to, &a), &b) in turned.as_chunks_mut::<2>().0.iter_mut().zip(a).zip(b) {
            *to = [a, b];
        }
    }
}

/// The first of each, the second of each, and so on.
#[inline(always)]
fn interleave_four([a, b, c, d]: [&[u8]; 4], to: &mut [u8]) {
    let levels = a.iter().zip(b).zip(c.iter().zip(d));
    for (to, ((&a, &b), (&c, &d))) in to.as_chunks_mut::<4>().0.iter_mut().zip(levels) {
        *to = [a, b, c, d];
    }
}

/// [stride, BAND] to [BAND, stride]: [`turn`], backwards.
#[inline(always)]
fn turn_back(turned: &[u8], rows: &mut [u8], stride: usize, scratch: &mut Scratch) {
    let [first, second] = &mut scratch.0;
    let slices = (0..stride).step_by(SLICE);
    for (start, turned) in slices.zip(turned.chunks(SLICE * BAND)) {
        let size = turned.len();
        let (first, second, length) = (&mut first[..size], &mut second[..size], size / BAND);
        let (a, b) = second.split_at_mut(size / 2);
        for ((from, a), b) in turned.as_chunks::<2>().0.iter().zip(a).zip(b) {
            [*a, *b] = *from;
        }
        let (a, b) = first.split_at_mut(size / 2);
        let ((a, b), (c, d)) = (a.split_at_mut(size / 4), b.split_at_mut(size / 4));
        part_four(second, [a, b, c, d]);
        for (row, four) in first.chunks_exact(4 * length).enumerate() {
            let rows = &mut rows[row * stride + start..];
            let (a, rows) = rows.split_at_mut(APART * stride);
            let (b, rows) = rows.split_at_mut(APART * stride);
            let (c, d) = rows.split_at_mut(APART * stride);
            part_four(four, [a, b, c, d].map(|row| &mut row[..length]));
        }
    }
}

/// [`interleave_four`], backwards.
#[inline(always)]
fn part_four(from: &[u8], [a, b, c, d]: [&mut [u8]; 4]) {
    let levels = a.iter_mut().zip(b).zip(c.iter_mut().zip(d));
    for (from, ((a, b), (c, d))) in from.as_chunks::<4>().0.iter().zip(levels) {
        [*a, *b, *c, *d] = *from;
    }
}

/// A half, with which a sum begins so that dropping the bits behind the point rounds.
const HALF: i32 = 1 << (PRECISION - 1);

/// Sums that are kept in registers: a loop over as many is unrolled.
const PART: usize = 32;

/// The weighted sum of rows that follow each other, each as long as `to`. It has 31 bits at most.
#[inline(always)]
fn weigh(rows: &[u8], weights: &[i32], to: &mut [u8]) {
    let stride = to.len();
    let mut at = 0;
    // Three parts at a time, while there are, so that a weight is fetched a third as often.
    while let Some((to, _)) = to[at..].split_first_chunk_mut::<{ 3 * PART }>() {
        let [mut a, mut b, mut c] = [[HALF; PART]; 3];
        for (row, &weight) in rows[at..].chunks(stride).zip(weights) {
            let row = row.as_chunks::<PART>().0;
            add(&mut a, &row[0], weight);
            add(&mut b, &row[1], weight);
            add(&mut c, &row[2], weight);
        }
        let (to, _) = to.as_chunks_mut::<PART>();
        round(&a, &mut to[0]);
        round(&b, &mut to[1]);
        round(&c, &mut to[2]);
        at += 3 * PART;
    }
    while let Some((to, _)) = to[at..].split_first_chunk_mut::<PART>() {
        let mut sums = [HALF; PART];
        for (row, &weight) in rows[at..].chunks(stride).zip(weights) {
            add(&mut sums, &row.as_chunks::<PART>().0[0], weight);
        }
        round(&sums, to);
        at += PART;
    }
    for (at, to) in to.iter_mut().enumerate().skip(at) {
        let levels = rows[at..].iter().step_by(stride).zip(weights);
        let sum = levels.map(|(&level, weight)| i32::from(level) * weight);
        round(&[HALF + sum.sum::<i32>()], std::array::from_mut(to));
    }
}

#[inline(always)]
fn add(sums: &mut [i32; PART], levels: &[u8; PART], weight: i32) {
    for (sum, &level) in sums.iter_mut().zip(levels) {
        *sum += i32::from(level) * weight;
    }
}

#[inline(always)]
fn round<const N: usize>(sums: &[i32; N], to: &mut [u8; N]) {
    for (to, sum) in to.iter_mut().zip(sums) {
        *to = (sum >> PRECISION).clamp(0, 255) as u8;
    }
}
