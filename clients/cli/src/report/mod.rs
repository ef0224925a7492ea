//! Reports: of a run, of its evaluation, and of a load test. Each is one HTML page that works offline, pictures and plots included.

pub mod arms;
pub mod calibration;
pub mod candidates;
pub mod comparison;
pub mod eval;
pub mod load;
pub mod memorisation;
mod plot;
mod results;
mod samples;
pub mod training;
mod view;

use anyhow::{Context as _, Result};
use minijinja::{AutoEscape, Environment, Value, context, value::Serde};
use saga_proto::labelstore::v1::ListCandidatesResponse;

pub use comparison::parse;
pub use results::Results;

/// Candidates fetched for the grid of samples.
pub const SAMPLES: u32 = 400;

/// The look of every page.
const STYLE: &str = include_str!("style.css");

/// Renders the page from a run's results, some candidates with their images, and how its models were trained.
pub fn html(
    results: &Results,
    candidates: &[ListCandidatesResponse],
    trainings: &[training::Training],
) -> Result<String> {
    let values = context! {
        results => Value::from(Serde(results)),
        sentence => comparison::sentence(results),
        calibration => calibration::sentence(results),
        memorisation => memorisation::sentence(results),
        images => view::images(results),
        classes => Value::from(Serde(view::classes(results))),
        funnel => Value::from(Serde(view::funnel(results))),
        faults => Value::from(Serde(view::faults(results))),
        stages => Value::from(Serde(view::stages(results))),
        confusions => Value::from(Serde(view::confusions(results))),
        trainings => Value::from(Serde(training::curves(trainings))),
        samples => Value::from(Serde(samples::grid(candidates))),
    };
    page(include_str!("report.html"), values)
}

/// A page from its template; all of them share style and filters.
fn page(template: &'static str, values: Value) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_filter("percent", crate::output::percent);
    environment.add_filter("points", crate::output::points);
    environment.add_filter("figure", crate::output::figure);
    environment
        .add_template("style.css", STYLE)
        .and_then(|()| environment.add_template("plot.html", include_str!("plot.html")))
        .and_then(|()| environment.add_template("page.html", template))
        .context("the page's template does not parse")?;
    Ok(environment.get_template("page.html")?.render(values)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_renders_without_candidates() {
        let page = html(&parse(&results::tests::example()).unwrap(), &[], &[]).unwrap();
        assert!(page.contains("contempt"));
        assert!(page.contains("+4.50"));
        assert!(page.contains("a contemptuous face") && page.contains("71.43 %"));
        // Offline: nothing is loaded from anywhere.
        assert!(
            !page.contains("http://") && !page.contains("https://"),
            "the page links out"
        );
    }
}
