//! Bad and good candidates whose truth is known, of images of the calibration split.
//!
//! A studio knows its own faults: it is asked to plant the fault that a gate is there for, and for edits without one. Elsewhere
//! the gates that know labels are offered real images under a wrong class, and under their own. For other gates no bad
//! candidates are known.

use futures::TryStreamExt as _;
use saga_proto::{
    gate::v1::DescribeResponse,
    generator::v1::{CandidateSpec, GenerateRequest},
    guard::v1::Candidate,
    labelstore::v1::{ReadSplitRequest, Row, Split},
    r#type::v1::Image,
};

use crate::{
    recipe::Gate,
    run::{RunContext, RunError, judge, normalise::normalise},
};

/// The backend that knows the truth of its edits.
const STUDIO: &str = "studio";
/// Faults that it is told to plant, or not to.
const FAULTS: [&str; 6] = [
    "wrong_expression",
    "other_identity",
    "unchanged",
    "blurred",
    "two_faces",
    "near_duplicate",
];

/// What makes a candidate bad for a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// A fault that the studio plants.
    Planted(&'static str),
    /// A real image under a class that is not its own.
    Mismatched,
}

impl Bad {
    /// One line for people.
    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Planted("wrong_expression") => {
                "studio edits that show another class than the target"
            }
            Self::Planted("other_identity") => {
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
        (true, true, _) => Some(Bad::Planted("wrong_expression")),
        (true, false, "ssim-gate") => Some(Bad::Planted("other_identity")),
        (true, false, "quality-gate") => Some(Bad::Planted("blurred")),
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
    let request = ReadSplitRequest {
        dataset_id: context.dataset_id.clone(),
        split: Split::Calibration.into(),
        ..ReadSplitRequest::default()
    };
    let store = &context.services.datasets;
    let read = store.call(request, |mut store, request| async move {
        store.read_split(request).await
    });
    let rows: Vec<Row> = read
        .await?
        .map_ok(|answer| answer.row.unwrap_or_default())
        .map_err(|status| store.error(status))
        .try_collect()
        .await?;
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
    async fn edit(&self, context: &RunContext, fault: &str) -> Result<Image, RunError> {
        let (_, generator) = context.backend(STUDIO)?;
        let rate = |name: &&str| if self.bad && *name == fault { "1" } else { "0" };
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
            parameters: FAULTS
                .iter()
                .map(|name| ((*name).to_owned(), rate(name).to_owned()))
                .collect(),
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
