//! The order in which the thresholds of a cascade are tried, fixed by what good candidates score.

/// Fewest good candidates that show where they lie; with fewer a path follows the ranges of the scores, and the loosest step
/// is the best.
const FEWEST_GOOD: usize = 30;
/// Steps of such a path.
const EVEN_STEPS: u32 = 400;
/// Most gates of which every choice has a path; of more, each by itself and all together.
const MOST_CHOICES: usize = 4;
/// Thresholds are written into recipes: they are whole millionths.
const UNIT: f64 = 1e6;

/// Thresholds of several gates, from the strictest to the loosest.
pub(super) struct Path {
    /// `[step][gate]`; none is higher than in the step before.
    steps: Vec<Vec<f64>>,
}

impl Path {
    /// One for each choice of gates that decide; where there are too few good candidates to follow, one down the ranges.
    pub(super) fn all(good: &[Vec<f64>], ranges: &[[f64; 2]]) -> Vec<Self> {
        if good.len() < FEWEST_GOOD {
            return vec![Self::even(ranges)];
        }
        let falling: Vec<Vec<f64>> = (0..ranges.len()).map(|gate| falling(good, gate)).collect();
        let all = (1_u32 << ranges.len().min(u32::BITS as usize - 1)) - 1;
        let is_tried = |choice: &u32| {
            ranges.len() <= MOST_CHOICES || choice.is_power_of_two() || *choice == all
        };
        let choices = (1..=all).filter(is_tried);
        choices
            .map(|choice| Self::equal_loss(&falling, ranges, choice))
            .collect()
    }

    /// At each step every gate of the choice (a bit each) by itself loses the same number of good candidates, at the last one
    /// none; the other gates decide nothing.
    fn equal_loss(falling: &[Vec<f64>], ranges: &[[f64; 2]], choice: u32) -> Self {
        let decides = |gate: usize| choice & (1 << gate) != 0;
        let deciding = (0..falling.len()).filter(|&gate| decides(gate));
        let steps = deciding.filter_map(|gate| Some(falling.get(gate)?.len()));
        let min = |step: usize, (gate, &[lowest, _]): (usize, &[f64; 2])| {
            let score = falling.get(gate).and_then(|scores| scores.get(step));
            let score = score.filter(|_| decides(gate));
            score.map_or(lowest, |score| (score * UNIT).floor() / UNIT)
        };
        let step = |step: usize| {
            ranges
                .iter()
                .enumerate()
                .map(|gate| min(step, gate))
                .collect()
        };
        Self {
            steps: (0..steps.min().unwrap_or(0)).map(step).collect(),
        }
    }

    /// Evenly down the ranges.
    fn even(ranges: &[[f64; 2]]) -> Self {
        let step = |step: u32| {
            let down = f64::from(step) / f64::from(EVEN_STEPS);
            let of_gate = |&[lowest, highest]: &[f64; 2]| highest + (lowest - highest) * down;
            let whole = |min: f64| (min * UNIT).round() / UNIT;
            ranges.iter().map(of_gate).map(whole).collect()
        };
        Self {
            steps: (0..=EVEN_STEPS).map(step).collect(),
        }
    }

    /// The first step that accepts a candidate with these scores.
    pub(super) fn first(&self, scores: &[f64]) -> Option<usize> {
        let accepts = |step: &Vec<f64>| {
            let mut gates = step.iter().zip(scores);
            gates.all(|(min, score)| score.is_nan() || score >= min)
        };
        let first = self.steps.partition_point(|step| !accepts(step));
        (first < self.steps.len()).then_some(first)
    }

    /// How many steps there are.
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// The thresholds of a step, by gate.
    pub(super) fn thresholds(&self, step: usize) -> &[f64] {
        self.steps.get(step).map_or(&[], Vec::as_slice)
    }
}

/// A gate's scores of the good candidates, the highest first; those that no threshold accepts are left out.
fn falling(good: &[Vec<f64>], gate: usize) -> Vec<f64> {
    let of_gate = good.iter().filter_map(|scores| scores.get(gate).copied());
    let mut scores: Vec<f64> = of_gate.filter(|score| score.is_finite()).collect();
    scores.sort_unstable_by(|a, b| b.total_cmp(a));
    scores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_loses_as_many_good_candidates_at_each_gate_and_at_last_none() {
        let good: Vec<Vec<f64>> = (0..30)
            .map(|i| vec![f64::from(i) / 100.0, 50.0 - f64::from(i)])
            .collect();
        let paths = Path::all(&good, &[[0.0, 1.0], [-5.0, 100.0]]);
        let [first, second, both] = &paths[..] else {
            panic!("{} paths", paths.len());
        };
        assert_eq!(first.thresholds(0), [0.29, -5.0]);
        assert_eq!(second.thresholds(29), [0.0, 21.0]);
        assert_eq!(both.thresholds(0), [0.29, 50.0]);
        assert_eq!(both.thresholds(29), [0.0, 21.0]);
        assert!(both.thresholds(30).is_empty());
        // What is best at one gate is worst at the other.
        assert_eq!(both.first(&good[29]), Some(29));
        assert_eq!(first.first(&good[29]), Some(0));
        assert_eq!(both.first(&good[15]), Some(15));
        assert_eq!(both.first(&[0.29, 20.0]), None);
        assert_eq!(Path::all(&good, &[[0.0, 1.0]; 5]).len(), 6);
    }
}
