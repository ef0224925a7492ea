//! Which numbers of a value get levels of their own: the range with the least squared error over what pictures made of it. The rare
//! numbers beyond are cut off, so that the many have finer levels.

use super::Levels;
use crate::error::Result;
use crate::onnx::evaluate::evaluate;
use crate::onnx::graph::Graph;
use saga_models::tch::{Kind, Tensor};
use std::collections::BTreeMap;

/// Ends of the range of each value that will be quantised.
pub(crate) type Ranges = BTreeMap<String, (f64, f64)>;

/// Bins of a histogram: eight for each level of the widest range.
const BINS: i64 = 2048;
/// The shares of the least and of the largest number that are tried as ends.
const SHARES: [f64; 15] = [
    1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3,
];

/// Ranges of the values `names` by what the graph makes of `batches`: seen twice, for their ends and for what lies between.
pub(crate) fn ranges(graph: &Graph, names: Vec<String>, batches: &[Tensor]) -> Result<Ranges> {
    let mut widest: Ranges = names.into_iter().map(|name| (name, (0.0, 0.0))).collect();
    observe(graph, batches, |name, value| {
        if let Some((low, high)) = widest.get_mut(name) {
            *low = low.min(value.f_min()?.f_double_value(&[])?);
            *high = high.max(value.f_max()?.f_double_value(&[])?);
        }
        Ok(())
    })?;
    let mut histograms = BTreeMap::<String, Tensor>::new();
    observe(graph, batches, |name, value| {
        if let Some(&(low, high)) = widest.get(name) {
            let counts = value
                .f_flatten(0, -1)?
                .f_to_kind(Kind::Float)?
                .f_histogram_bin_ct::<&Tensor>(BINS, &[low, high], None, false)?
                .0
                .f_to_kind(Kind::Double)?;
            let counts = match histograms.remove(name) {
                Some(earlier) => earlier.f_add(&counts)?,
                None => counts,
            };
            histograms.insert(name.to_owned(), counts);
        }
        Ok(())
    })?;
    for (name, ends) in &mut widest {
        if let Some(counts) = histograms.get(name) {
            *ends = best(*ends, &Vec::<f64>::try_from(counts)?);
        }
    }
    Ok(widest)
}

/// Shows every value that the graph computes for the batches.
fn observe(
    graph: &Graph,
    batches: &[Tensor],
    mut see: impl FnMut(&str, &Tensor) -> Result<()>,
) -> Result<()> {
    for batch in batches {
        evaluate(graph, &[batch.shallow_clone()], &mut see)?;
    }
    Ok(())
}

/// The ends with the least squared error for numbers that lie so often in equal parts of the widest range.
fn best((low, high): (f64, f64), counts: &[f64]) -> (f64, f64) {
    let width = (high - low) / counts.len().max(1) as f64;
    let bins: Vec<(f64, f64)> = counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0.0)
        .map(|(index, &count)| (low + width * (index as f64 + 0.5), count))
        .collect();
    let error = |(low, high): (f64, f64)| {
        let levels = Levels::of(low, high);
        bins.iter()
            .map(|&(value, count)| count * (levels.nearest(value) - value).powi(2))
            .sum::<f64>()
    };
    // An end at zero has nothing to cut off.
    let lows = SHARES.iter().take(if low < 0.0 { SHARES.len() } else { 1 });
    let ends = lows.flat_map(|share| SHARES.iter().map(move |other| (low * share, high * other)));
    let judged = ends.map(|ends| (error(ends), ends));
    judged
        .min_by(|(one, _), (other, _)| one.total_cmp(other))
        .map_or((low, high), |(_, ends)| ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_is_cut_off_and_an_even_spread_is_not() {
        let even = vec![10.0; BINS as usize];
        assert_eq!(best((-1.0, 1.0), &even), (-1.0, 1.0));
        // Nearly everything in the first quarter, one number at the end.
        let mut lone: Vec<f64> = (0..BINS)
            .map(|bin| if bin < BINS / 4 { 1e4 } else { 0.0 })
            .collect();
        lone[BINS as usize - 1] = 1.0;
        let (low, high) = best((0.0, 8.0), &lone);
        assert_eq!(low, 0.0);
        assert!((2.0..4.0).contains(&high), "{high}");
    }

    #[test]
    fn nothing_seen_keeps_its_range() {
        assert_eq!(best((-1.0, 3.0), &[]), (-1.0, 3.0));
        assert_eq!(best((0.0, 0.0), &[5.0; 4]), (0.0, 0.0));
    }
}
