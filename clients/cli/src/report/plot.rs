//! Lines over an axis of rates or epochs, laid out for an inline SVG. Lengths are the SVG's own units.

use serde::Serialize;

use crate::output::figure;

/// The whole picture.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 300.0;
/// Around the plotted area: for the labels of the axes.
const LEFT: f64 = 58.0;
const RIGHT: f64 = 22.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;

/// How values become heights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// From zero.
    Linear,
    /// Decades: for latencies, which span them.
    Logarithmic,
}

/// What a plot and its axes are called.
#[derive(Debug, Clone, Serialize)]
pub struct Labels {
    pub title: String,
    pub x: &'static str,
    /// Follows a value of the x axis.
    pub x_unit: &'static str,
    pub y: &'static str,
}

/// One line of a plot.
#[derive(Debug, Clone)]
pub struct Line {
    pub name: &'static str,
    /// A CSS colour.
    pub colour: &'static str,
    pub dashed: bool,
    /// Place and value, by rising place.
    pub points: Vec<(f64, f64)>,
}

/// A plot as the template draws it.
#[derive(Debug, Serialize)]
pub struct Plot {
    labels: Labels,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
    series: Vec<Series>,
    mark: Option<Tick>,
}

#[derive(Debug, Serialize)]
struct Tick {
    at: f64,
    text: String,
}

#[derive(Debug, Serialize)]
struct Series {
    name: &'static str,
    colour: &'static str,
    dashed: bool,
    /// As `points` of a polyline.
    path: String,
    dots: Vec<Dot>,
}

#[derive(Debug, Serialize)]
struct Dot {
    x: f64,
    y: f64,
    /// Shown where the pointer rests.
    text: String,
}

impl Plot {
    /// Lays out `lines`, with a vertical mark at the place `mark`, which has a name.
    pub fn new(
        labels: Labels,
        scale: Scale,
        lines: &[Line],
        mark: Option<(f64, &'static str)>,
    ) -> Self {
        let points = || lines.iter().flat_map(|line| &line.points);
        let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(f64::MIN_POSITIVE, f64::max);
        let x_axis = Axis::linear(most(|point| point.0), LEFT, WIDTH - RIGHT);
        let (low, high) = (HEIGHT - BOTTOM, TOP);
        let y_axis = match scale {
            Scale::Linear => Axis::linear(most(|point| point.1), low, high),
            Scale::Logarithmic => {
                let above_zero = points().map(|point| point.1).filter(|&value| value > 0.0);
                let least = above_zero.fold(f64::INFINITY, f64::min);
                Axis::logarithmic(least, most(|point| point.1), low, high)
            }
        };
        let series: Vec<Series> = lines
            .iter()
            .map(|line| series(line, labels.x_unit, &x_axis, &y_axis))
            .collect();
        Self {
            labels,
            width: WIDTH,
            height: HEIGHT,
            left: LEFT,
            right: WIDTH - RIGHT,
            top: TOP,
            bottom: HEIGHT - BOTTOM,
            x_ticks: x_axis.ticks(),
            y_ticks: y_axis.ticks(),
            series,
            mark: mark.map(|(place, name)| Tick {
                at: x_axis.place(place),
                text: name.to_owned(),
            }),
        }
    }
}

fn series(line: &Line, unit: &str, x_axis: &Axis, y_axis: &Axis) -> Series {
    let dots: Vec<Dot> = line
        .points
        .iter()
        .map(|&(x, y)| Dot {
            x: x_axis.place(x),
            y: y_axis.place(y),
            text: format!("{}: {} at {}{unit}", line.name, figure(y), figure(x)),
        })
        .collect();
    let path: Vec<_> = dots
        .iter()
        .map(|dot| format!("{:.1},{:.1}", dot.x, dot.y))
        .collect();
    Series {
        name: line.name,
        colour: line.colour,
        dashed: line.dashed,
        path: path.join(" "),
        dots,
    }
}

/// Values to places.
struct Axis {
    scale: Scale,
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// From zero to just past `most`.
    fn linear(most: f64, from: f64, to: f64) -> Self {
        let step = round_step(most);
        Self {
            scale: Scale::Linear,
            least: 0.0,
            most: (most / step).ceil() * step,
            from,
            to,
        }
    }

    /// Between the round numbers (1, 2 or 5 times a power of ten) around the values.
    fn logarithmic(least: f64, most: f64, from: f64, to: f64) -> Self {
        let least = if least.is_finite() { least } else { most };
        let around = |value: f64| round_numbers(value / 10.0, value * 10.0);
        let below = around(least).into_iter().rfind(|&number| number <= least);
        let above = around(most).into_iter().find(|&number| number >= most);
        let least = below.unwrap_or(least);
        Self {
            scale: Scale::Logarithmic,
            least,
            most: above.unwrap_or(most).max(least * 2.0),
            from,
            to,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => value / self.most,
            Scale::Logarithmic => {
                let value = value.max(self.least);
                (value / self.least).ln() / (self.most / self.least).ln()
            }
        };
        let place = self.from + share * (self.to - self.from);
        (place * 10.0).round() / 10.0
    }

    fn ticks(&self) -> Vec<Tick> {
        let values: Vec<f64> = match self.scale {
            Scale::Linear => {
                let step = round_step(self.most);
                let count = (self.most / step).round() as u32;
                (0..=count).map(|index| f64::from(index) * step).collect()
            }
            Scale::Logarithmic => round_numbers(self.least, self.most),
        };
        let tick = |value: f64| Tick {
            at: self.place(value),
            text: tick_text(value),
        };
        values.into_iter().map(tick).collect()
    }
}

/// A step of 1, 2 or 5 times a power of ten that divides `most` into about five.
fn round_step(most: f64) -> f64 {
    let rough = (most / 5.0).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(rough.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let factor = factors.into_iter().find(|factor| factor * power >= rough);
    factor.unwrap_or(10.0) * power
}

/// 1, 2 and 5 times each power of ten within the range.
fn round_numbers(least: f64, most: f64) -> Vec<f64> {
    let (first, last) = (least.log10().floor() as i32, most.log10().ceil() as i32);
    (first..=last)
        .flat_map(|power| [1.0, 2.0, 5.0].map(|factor| factor * 10_f64.powi(power)))
        .filter(|number| (least * 0.999..=most * 1.001).contains(number))
        .collect()
}

/// Without the zeros that say nothing.
fn tick_text(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|tick| tick.text).collect()
    }

    #[test]
    fn linear_axes_begin_at_zero_and_end_past_the_largest() {
        let axis = Axis::linear(437.0, 0.0, 100.0);
        assert_eq!(texts(&axis), ["0", "100", "200", "300", "400", "500"]);
        assert_eq!(
            (axis.place(0.0), axis.place(250.0), axis.place(500.0)),
            (0.0, 50.0, 100.0)
        );
    }

    #[test]
    fn logarithmic_axes_have_round_numbers_around_the_values() {
        let axis = Axis::logarithmic(0.3, 45.0, 100.0, 0.0);
        assert_eq!(
            texts(&axis),
            ["0.2", "0.5", "1", "2", "5", "10", "20", "50"]
        );
        assert_eq!(
            (axis.place(0.2), axis.place(50.0), axis.place(0.0)),
            (100.0, 0.0, 100.0)
        );
        let middle = axis.place(10_f64.sqrt());
        assert!((middle - 50.0).abs() < 0.1, "{middle}");
    }

    #[test]
    fn a_plot_of_nothing_is_still_one() {
        let nothing = Line {
            name: "p50",
            colour: "red",
            dashed: false,
            points: Vec::new(),
        };
        for scale in [Scale::Linear, Scale::Logarithmic] {
            let labels = Labels {
                title: "Latency".into(),
                x: "rate",
                x_unit: "/s",
                y: "ms",
            };
            let plot = Plot::new(labels, scale, std::slice::from_ref(&nothing), None);
            assert!(plot.series[0].path.is_empty());
            assert!(
                plot.y_ticks.iter().all(|tick| tick.at.is_finite()),
                "{plot:?}"
            );
        }
    }
}
