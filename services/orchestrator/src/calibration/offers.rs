//! Bad and good candidates whose truth is known, of images of the calibration split.
//!
//! A studio knows its own faults: it is asked to plant the fault that a gate is there for, and for edits without one. Elsewhere
//! the gates that know labels are offered real images under a wrong class, and under their own. For other gates no bad
//! candidates are known.

use futures::TryStreamExt as _;
use saga_proto::{
    gate::v1::DescribeResponse,
    generator::v1::{CandidateSpec, Fault, GenerateRequest},
    guard::v1::Candidate,
    labelstore::v1::{ReadSplitRequest, Row, Split},
    r#type::v1::Image,
};

use crate::{
    recipe::Gate,
    results::fault_name,
    run::{RunContext, RunError, judge, normalise::normalise, read},
};

/// The backend that knows the truth of its edits.
const STUDIO: &str = "studio";

/// What makes a candidate bad for a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// A fault that the studio plants.
    Planted(Fault),
    /// A real image under a class that is not its own.
    Mismatched,
}

impl Bad {
    /// One line for people.
    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Planted(Fault::WrongExpression) => {
                "studio edits that show another class than the target"
            }
            Self::Planted(Fault::OtherIdentity) => {
                "studio edits that show another person than the source"
            }
            Self::Planted(_) => "studio edits out of focus",
            Self::Mismatched => "real images of one class offered as another",
        }
    }
}

/// What a gate should keep out; `None` where nobody can tell.
pub(super) fn kind(context: &RunContext, gate: &Gate, described: &DescribeResponse) -> Option<Bad> {
    let studio = context
        .backends
        .iter()
        .any(|backend| backend.name == STUDIO);
    let knows_labels = described.needs_target_label || described.needs_prompt;
    match (studio, knows_labels, gate.address.as_str()) {
        (true, true, _) => Some(Bad::Planted(Fault::WrongExpression)),
        (true, false, "ssim-gate") => Some(Bad::Planted(Fault::OtherIdentity)),
        (true, false, "quality-gate") => Some(Bad::Planted(Fault::Blurred)),
        (false, true, _) => Some(Bad::Mismatched),
        _ => None,
    }
}

/// One candidate to be made and judged.
pub(super) struct Offer {
    row: Row,
    kind: Bad,
    seed: u64,
    /// Index of the target class.
    pub(super) class: usize,
    /// Whether the gate should reject it.
    pub(super) bad: bool,
}

/// The calibration split with its images and classes.
pub(super) async fn rows(context: &RunContext) -> Result<Vec<(Row, usize)>, RunError> {
    let wanted = ReadSplitRequest {
        split: Split::Calibration.into(),
        ..ReadSplitRequest::default()
    };
    let rows: Vec<Row> = read::split(context, wanted).await?.try_collect().await?;
    if rows.is_empty() {
        let why = "the calibration split is empty; set calibration_fraction in the recipe's [split] and start a new run";
        return Err(RunError::Data(why.into()));
    }
    let with_class = |row: Row| {
        let class = judge::truth(context, &row)?;
        Ok((row, class))
    };
    rows.into_iter().map(with_class).collect()
}

/// For each class at most one bad and one good candidate of each image, so that those of a class are independent.
pub(super) fn all(context: &RunContext, rows: &[(Row, usize)], kind: Bad) -> Vec<Offer> {
    let mut offers = Vec::new();
    for class in 0..context.recipe.classes.len() {
        for (index, (row, own)) in rows.iter().enumerate() {
            let offer = |bad: bool| Offer {
                row: row.clone(),
                kind,
                seed: context.seed ^ ((index as u64) << 8) ^ class as u64,
                class,
                bad,
            };
            match (kind, *own == class) {
                // An edit starts from another class.
                (Bad::Planted(_), true) => {}
                (Bad::Planted(_), false) => offers.extend([offer(true), offer(false)]),
                (Bad::Mismatched, same) => offers.push(offer(!same)),
            }
        }
    }
    offers
}

impl Offer {
    /// Candidate and source; the caller adds the target.
    pub(super) async fn candidate(self, context: &RunContext) -> Result<Candidate, RunError> {
        let source = self.row.image.clone();
        let candidate = match self.kind {
            Bad::Mismatched => source.clone(),
            Bad::Planted(fault) => Some(self.edit(context, fault).await?),
        };
        Ok(Candidate {
            candidate,
            source,
            ..Candidate::default()
        })
    }

    /// The studio's edit, with this fault or without any, brought to the recipe's size.
    async fn edit(&self, context: &RunContext, planted: Fault) -> Result<Image, RunError> {
        let (_, generator) = context.backend(STUDIO)?;
        let rate = |fault: Fault| {
            let share = if self.bad && fault == planted {
                "1"
            } else {
                "0"
            };
            (fault_name(fault), share.to_owned())
        };
        let spec = CandidateSpec {
            backend: STUDIO.into(),
            source: self.row.image.clone(),
            source_label: self.row.label.clone(),
            target_label: context
                .recipe
                .classes
                .get(self.class)
                .cloned()
                .unwrap_or_default(),
            seed: self.seed,
            parameters: faults().map(rate).collect(),
            ..CandidateSpec::default()
        };
        let request = GenerateRequest { spec: Some(spec) };
        let answer = generator.call(request, |mut generator, request| async move {
            generator.generate(request).await
        });
        let image = answer
            .await?
            .candidate
            .and_then(|candidate| candidate.image);
        let image =
            image.ok_or_else(|| RunError::Data("the studio answered without an image".into()))?;
        match context.recipe.normalisation {
            Some(wanted) => normalise(image, wanted)
                .await
                .map_err(|error| RunError::Data(error.to_string())),
            None => Ok(image),
        }
    }
}

/// Every fault that the studio can be told to plant, or not to.
fn faults() -> impl Iterator<Item = Fault> {
    let numbered = (0..).map_while(|number| Fault::try_from(number).ok());
    numbered.filter(|fault| !matches!(fault, Fault::Unspecified | Fault::None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_studio_is_told_of_every_fault_by_its_parameters_name() {
        let names: Vec<String> = faults().map(fault_name).collect();
        let known = [
            "wrong_expression",
            "other_identity",
            "unchanged",
            "blurred",
            "two_faces",
            "near_duplicate",
        ];
        assert_eq!(names, known);
    }
}
