//! Bad and good candidates whose truth is known, of images of the calibration split.
//!
//! A studio knows its own faults: it is asked for edits, as a run asks it, until one is good and one has a fault that gates are
//! there for. Elsewhere the gates that know labels are offered real images under a wrong class, and under their own.

use std::{collections::BTreeMap, sync::Arc};

use futures::TryStreamExt as _;
use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use saga_proto::{
    gate::v1::DescribeResponse,
    generator::v1::{self as generator, CandidateSpec, GenerateRequest},
    guard::v1::Candidate,
    labelstore::v1::{ReadSplitRequest, Row, Split},
    r#type::v1::Image,
};

use super::super::{RunContext, RunError, judge, normalise::normalise, read};
use crate::results::is_bad;

/// The backend that knows the truth of its edits.
const STUDIO: &str = "studio";
/// Edits of an image until one is as wanted; where a quarter is bad, all but one in a thousand have such a one.
const TRIES: u64 = 24;
/// Bad candidates of a class at most, and good ones; more would only make the bound a little tighter.
const OFFERS: usize = 500;

/// What makes a candidate bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// A fault that the studio planted.
    Planted,
    /// A real image under a class that is not its own.
    Mismatched,
}

impl Bad {
    /// One line for people.
    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Planted => "studio edits with a planted fault, as often as each occurs",
            Self::Mismatched => "real images of one class offered as another",
        }
    }

    /// Whether a gate can tell such a candidate from a good one.
    pub(super) fn shows_to(self, gate: &DescribeResponse) -> bool {
        match self {
            Self::Planted => true,
            Self::Mismatched => gate.needs_target_label || gate.needs_prompt,
        }
    }
}

/// What the run's gates should keep out, as far as somebody can tell.
pub(super) fn kind(context: &RunContext) -> Bad {
    let mut backends = context.backends.iter();
    if backends.any(|backend| backend.name == STUDIO) {
        Bad::Planted
    } else {
        Bad::Mismatched
    }
}

/// One candidate to be made and judged.
pub(super) struct Offer {
    row: Arc<Row>,
    kind: Bad,
    seed: u64,
    /// Index of the target class.
    pub(super) class: usize,
    /// Whether the gates should reject it.
    pub(super) bad: bool,
}

/// The calibration split with its images and classes.
pub(super) async fn rows(context: &RunContext) -> Result<Vec<(Arc<Row>, usize)>, RunError> {
    let wanted = ReadSplitRequest {
        split: Split::Calibration.into(),
        ..ReadSplitRequest::default()
    };
    let rows: Vec<Row> = read::split(context, wanted).await?.try_collect().await?;
    let with_class = |row: Row| {
        let class = judge::truth(context, &row)?;
        Ok((Arc::new(row), class))
    };
    rows.into_iter().map(with_class).collect()
}

/// People who are in several of the images; an image without a named one counts as another.
pub(super) fn repeated(rows: &[(Arc<Row>, usize)]) -> usize {
    let mut images = BTreeMap::<&str, usize>::new();
    for (row, _) in rows.iter().filter(|(row, _)| !row.subject.is_empty()) {
        *images.entry(&row.subject).or_default() += 1;
    }
    images.values().filter(|&&images| images > 1).count()
}

/// For each class at most one bad and one good candidate of each image. Images count as independent, whomever they show.
pub(super) fn all(context: &RunContext, mut rows: Vec<(Arc<Row>, usize)>, kind: Bad) -> Vec<Offer> {
    let mut offers = Vec::new();
    let mut random = ChaCha8Rng::seed_from_u64(context.seed);
    for class in 0..context.recipe.classes.len() {
        rows.shuffle(&mut random);
        for bad in [true, false] {
            let wanted = |own: usize| match kind {
                // An edit starts from another class.
                Bad::Planted => own != class,
                Bad::Mismatched => (own != class) == bad,
            };
            let images = rows.iter().filter(|(_, own)| wanted(*own)).take(OFFERS);
            offers.extend(images.enumerate().map(|(index, (row, _))| Offer {
                row: row.clone(),
                kind,
                seed: context.seed ^ ((index as u64) << 32) ^ ((class as u64) << 16),
                class,
                bad,
            }));
        }
    }
    offers
}

impl Offer {
    /// Candidate, source and target; `None` where no edit came out as wanted.
    pub(super) async fn candidate(
        self,
        context: &RunContext,
    ) -> Result<Option<Candidate>, RunError> {
        let source = self.row.image.clone();
        let candidate = match self.kind {
            Bad::Mismatched => source.clone(),
            Bad::Planted => self.edit(context).await?,
        };
        let target_label = self.target(context);
        Ok(candidate.map(|candidate| Candidate {
            candidate: Some(candidate),
            source,
            target_label,
            ..Candidate::default()
        }))
    }

    /// The target's label.
    fn target(&self, context: &RunContext) -> String {
        let labels = &context.recipe.classes;
        labels.get(self.class).cloned().unwrap_or_default()
    }

    /// The studio's first edit that is as wanted, brought to the recipe's size.
    async fn edit(&self, context: &RunContext) -> Result<Option<Image>, RunError> {
        for attempt in 0..TRIES {
            let made = self.attempt(context, attempt).await?;
            let truth = made.truth.unwrap_or_default();
            if is_bad(truth.fault()) != Some(self.bad) {
                continue;
            }
            let image = made
                .image
                .ok_or_else(|| RunError::Data("the studio answered without an image".into()))?;
            return Ok(Some(match context.recipe.normalisation {
                Some(wanted) => normalise(image, wanted)
                    .await
                    .map_err(|error| RunError::Data(error.to_string()))?,
                None => image,
            }));
        }
        Ok(None)
    }

    async fn attempt(
        &self,
        context: &RunContext,
        attempt: u64,
    ) -> Result<generator::Candidate, RunError> {
        let (backend, generator) = context.backend(STUDIO)?;
        let spec = CandidateSpec {
            backend: STUDIO.into(),
            source: self.row.image.clone(),
            source_label: self.row.label.clone(),
            target_label: self.target(context),
            seed: self.seed ^ attempt,
            parameters: backend.parameters.clone().into_iter().collect(),
            ..CandidateSpec::default()
        };
        let request = GenerateRequest { spec: Some(spec) };
        let answer = generator.call(request, |mut generator, request| async move {
            generator.generate(request).await
        });
        Ok(answer.await?.candidate.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_with_several_images_are_counted_once_and_unnamed_ones_never() {
        let row = |subject: &str| {
            let row = Row {
                subject: subject.into(),
                ..Row::default()
            };
            (Arc::new(row), 0)
        };
        let rows = ["ann", "", "bob", "ann", "", "ann", "eve", "bob"].map(row);
        assert_eq!(repeated(&rows), 2);
        assert_eq!(repeated(&rows[..3]), 0);
    }
}
