//! The latencies as an HdrHistogram interval log, which the usual tools plot, merge and compare.
//!
//! One line a second and step: its tag is the step's name, its values are nanoseconds, its histogram is in the compressed
//! V2 encoding. The log keeps the whole distribution, so any percentile can be had later, and runs can be added up.

use std::{
    io::{self, Write},
    time::{Duration, SystemTime},
};

use hdrhistogram::serialization::{
    V2DeflateSerializeError, V2DeflateSerializer,
    interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag},
};

use crate::report::Report;

/// The version that knows tags and BaseTime.
const VERSION: &str = "[Histogram log format version 1.3]";
/// Nanoseconds to milliseconds, of the column that people read.
const MAX_DIVISOR: f64 = 1e6;

/// Writes the latencies of every step.
///
/// # Errors
/// Where `writer` fails.
pub fn write(report: &Report, writer: &mut impl Write) -> io::Result<()> {
    let base = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(report.started);
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment(VERSION)
        .add_comment(&format!("saga load of gate {}", report.gate.name))
        .with_start_time(base)
        .with_base_time(base)
        .with_max_value_divisor(MAX_DIVISOR)
        .begin_log_with(writer, &mut serializer)?;
    for step in &report.steps {
        let begun = step.log.begun.duration_since(base).unwrap_or_default();
        for (second, histogram) in (0..).zip(&step.log.histograms) {
            let start = begun + Duration::from_secs(second);
            let left = (step.seconds - second as f64).clamp(0.0, 1.0);
            let length = Duration::from_secs_f64(left);
            log.write_histogram(histogram, start, length, Tag::new(&step.name))
                .map_err(other)?;
        }
    }
    Ok(())
}

fn other(error: IntervalLogWriterError<V2DeflateSerializeError>) -> io::Error {
    match error {
        IntervalLogWriterError::IoError(error) => error,
        IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
    }
}
