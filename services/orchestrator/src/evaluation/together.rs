//! Several runs' answers as one: who and what is the same in all of them, and what cannot be put together.

use std::collections::HashMap;

use super::judged::{Judged, JudgedArm, JudgedImage, JudgedModel};
use crate::run::judge::{self, Answer};

/// What an evaluation of several runs is refused for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MismatchError {
    /// Nothing to judge.
    #[error("the golden set holds no image; nothing can be judged")]
    Empty,
    /// Figures of different things.
    #[error("{field} of run {run_id:?} are {why}")]
    Field {
        /// What differs.
        field: &'static str,
        /// The run.
        run_id: String,
        /// How it differs, and what to do.
        why: String,
    },
    /// No arm is in all of them.
    #[error("no arm was trained in each of the runs {0}; evaluate them all with the same --arms")]
    NoArm(String),
    /// A file that was changed by hand, or by a crash.
    #[error(
        "{field} of run {run_id:?} hold {found} entries, {wanted} were judged; evaluate the run again"
    )]
    Broken {
        /// What is too short or too long.
        field: String,
        /// The run.
        run_id: String,
        /// What was found.
        found: usize,
        /// What there should be.
        wanted: usize,
    },
}

/// Several runs' answers, one after the other.
pub(crate) struct Together<'a> {
    runs: &'a [Judged],
    /// Class of each image.
    pub(crate) truth: Vec<usize>,
    /// Subject of each image, by number: the same person, or the same image without a named one, in all runs.
    pub(crate) subjects: Vec<usize>,
    /// Index of each image's run.
    pub(crate) splits: Vec<usize>,
}

impl<'a> Together<'a> {
    /// Runs of the same classes, steps and number of seeds.
    ///
    /// # Errors
    /// Where they are not, or where answers are missing.
    pub(crate) fn new(runs: &'a [Judged]) -> Result<Self, MismatchError> {
        let first = runs.first().ok_or(MismatchError::Empty)?;
        for run in runs {
            alike(first, run)?;
            whole(run)?;
        }
        same_labels(runs)?;
        let images = || runs.iter().flat_map(|run| &run.images);
        if images().next().is_none() {
            return Err(MismatchError::Empty);
        }
        let whom = |image: &JudgedImage| match image.subject.as_str() {
            "" => format!("image {}", image.id),
            name => format!("subject {name}"),
        };
        let subjects: Vec<String> = images().map(whom).collect();
        let indexed = runs.iter().enumerate();
        let splits = indexed.flat_map(|(split, run)| run.images.iter().map(move |_| split));
        Ok(Self {
            runs,
            truth: images().map(|image| image.truth).collect(),
            subjects: judge::subjects(subjects.iter().map(String::as_str)),
            splits: splits.collect(),
        })
    }

    /// The arms that every run has, each with its runs'.
    ///
    /// # Errors
    /// Where there is none.
    pub(crate) fn arms(&self) -> Result<Vec<Vec<&'a JudgedArm>>, MismatchError> {
        let first = self.runs.iter().take(1).flat_map(|run| &run.arms);
        let of_all = |arm: &JudgedArm| -> Option<Vec<&'a JudgedArm>> {
            let same = |run: &'a Judged| run.arms.iter().find(|other| other.name == arm.name);
            self.runs.iter().map(same).collect()
        };
        let arms: Vec<_> = first.filter_map(of_all).collect();
        if arms.is_empty() {
            let runs: Vec<&str> = self.runs.iter().map(|run| run.run_id.as_str()).collect();
            return Err(MismatchError::NoArm(runs.join(", ")));
        }
        Ok(arms)
    }

    /// Answers of an arm, `[seed][image]`.
    pub(crate) fn answers(arm: &[&JudgedArm]) -> Vec<Vec<Answer>> {
        let seeds = arm.iter().map(|arm| arm.models.len()).min().unwrap_or(0);
        let of_seed = |seed: usize| {
            let models = arm.iter().filter_map(|arm| arm.models.get(seed));
            models.flat_map(JudgedModel::answers).collect()
        };
        (0..seeds).map(of_seed).collect()
    }
}

fn alike(first: &Judged, run: &Judged) -> Result<(), MismatchError> {
    let fields = [
        (
            "classes",
            first.classes.join(", "),
            run.classes.join(", "),
            "only runs of the same classes in the same order can be judged together",
        ),
        (
            "steps",
            first.steps.to_string(),
            run.steps.to_string(),
            "evaluate all with the same --steps",
        ),
        (
            "trainings of each arm",
            first.seeds.len().to_string(),
            run.seeds.len().to_string(),
            "evaluate all with the same --seeds",
        ),
    ];
    let differs = fields
        .into_iter()
        .find(|(_, wanted, found, _)| wanted != found);
    match differs {
        None => Ok(()),
        Some((field, wanted, found, remedy)) => Err(MismatchError::Field {
            field,
            run_id: run.run_id.clone(),
            why: format!("{found}, those of {:?} {wanted}; {remedy}", first.run_id),
        }),
    }
}

/// An image that several golden sets hold has one label.
fn same_labels(runs: &[Judged]) -> Result<(), MismatchError> {
    let mut known = HashMap::new();
    let label = |run: &Judged, truth: usize| run.classes.get(truth).cloned().unwrap_or_default();
    for run in runs {
        for image in &run.images {
            let (earlier, truth) = *known.entry(&image.id).or_insert((run, image.truth));
            if truth != image.truth {
                return Err(MismatchError::Field {
                    field: "labels",
                    run_id: run.run_id.clone(),
                    why: format!(
                        "not those of {:?}: image {} is {:?} here and {:?} there; run both on the same labels",
                        earlier.run_id,
                        image.id,
                        label(run, image.truth),
                        label(earlier, truth),
                    ),
                });
            }
        }
    }
    Ok(())
}

/// What is indexed and zipped later fits.
fn whole(run: &Judged) -> Result<(), MismatchError> {
    let images = run.images.len();
    let models = run.arms.iter().flat_map(|arm| {
        let name = &arm.name;
        let of_model = move |model: &JudgedModel| {
            [
                (format!("answers of {name}"), model.answers.len(), images),
                (
                    format!("probabilities of {name}"),
                    model.probabilities.len(),
                    images,
                ),
            ]
        };
        let counts = [
            (
                format!("models of {name}"),
                arm.models.len(),
                run.seeds.len(),
            ),
            (
                format!("images added by {name}"),
                arm.added.len(),
                run.classes.len(),
            ),
        ];
        counts
            .into_iter()
            .chain(arm.models.iter().flat_map(of_model))
    });
    let train = (
        "train images".to_owned(),
        run.train_images.len(),
        run.classes.len(),
    );
    let mut fields = std::iter::once(train).chain(models);
    match fields.find(|(_, found, wanted)| found != wanted) {
        None => Ok(()),
        Some((field, found, wanted)) => Err(MismatchError::Broken {
            field,
            run_id: run.run_id.clone(),
            found,
            wanted,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::conclude;

    /// Two classes; `right` says for each image whether the arm gated knows it. The arm plain knows class 0 alone.
    fn run(id: &str, images: &[(&str, &str, usize)], right: &[bool]) -> Judged {
        let images: Vec<_> = images
            .iter()
            .map(|&(id, subject, truth)| JudgedImage {
                id: id.into(),
                subject: subject.into(),
                truth,
            })
            .collect();
        let model = |answers: Vec<usize>| JudgedModel {
            directory: "d".into(),
            revision: "r".into(),
            probabilities: vec![0.75; answers.len()],
            answers,
        };
        let arm = |name: &str, answers: Vec<usize>| JudgedArm {
            name: name.into(),
            about: name.into(),
            added: vec![0, 4],
            models: vec![model(answers); 2],
        };
        let known = images.iter().zip(right);
        let gated = known.map(|(image, &right)| if right { image.truth } else { 1 - image.truth });
        Judged {
            run_id: id.into(),
            recipe: "recipe".into(),
            classes: vec!["a".into(), "b".into()],
            train_images: vec![200, 10],
            seeds: vec![1, 2],
            steps: 10,
            read_again: false,
            earlier_reads: Vec::new(),
            arms: vec![
                arm("plain", vec![0; images.len()]),
                arm("gated", gated.collect()),
            ],
            images,
        }
    }

    fn two() -> [Judged; 2] {
        let first = [("1", "x", 0), ("2", "", 1), ("3", "y", 1)];
        let second = [("2", "", 1), ("4", "y", 1), ("5", "", 0), ("6", "", 0)];
        [
            run("first", &first, &[true, true, false]),
            run("second", &second, &[true, true, true, false]),
        ]
    }

    #[test]
    fn a_person_and_an_unnamed_image_are_the_same_in_all_runs() {
        let runs = two();
        let together = Together::new(&runs).unwrap();
        assert_eq!(together.subjects, [0, 1, 2, 1, 2, 5, 6]);
        assert_eq!(together.splits, [0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(together.truth, [0, 1, 1, 1, 1, 0, 0]);
    }

    #[test]
    fn figures_of_several_runs_are_those_of_all_their_images() {
        let [first, mut second] = two();
        second.train_images = vec![100, 13];
        second.arms.reverse();
        let evaluation = conclude(&[first, second], Vec::new()).unwrap();
        assert_eq!(evaluation.runs, ["first", "second"]);
        assert_eq!(evaluation.seeds, [1, 2, 1, 2]);
        let [plain, gated] = evaluation.arms.as_slice() else {
            panic!("{:?}", evaluation.arms);
        };
        // Class a: 2 of 3 images; class b: 3 of 4.
        let wanted = (2.0 / 3.0 + 3.0 / 4.0) / 2.0;
        assert!((gated.balanced_accuracy.value - wanted).abs() < 1e-12);
        assert_eq!(plain.balanced_accuracy.value, 0.5);
        assert_eq!(evaluation.golden.images["b"], 4);
        assert_eq!(evaluation.golden.subjects, 5);
        assert_eq!(evaluation.train_images["b"], 12);
        let models: Vec<_> = gated
            .models
            .iter()
            .map(|model| (model.run_id.as_str(), model.seed))
            .collect();
        assert_eq!(
            models,
            [("first", 1), ("first", 2), ("second", 1), ("second", 2)]
        );
        assert_eq!(gated.models[0].balanced_accuracy, Some(0.75));
    }

    #[test]
    fn an_arm_that_one_run_lacks_is_left_out_and_none_at_all_is_refused() {
        let [first, mut second] = two();
        second.arms[0].name = "placebo".into();
        let both = [first, second];
        let names: Vec<_> = conclude(&both, Vec::new())
            .unwrap()
            .arms
            .into_iter()
            .map(|arm| arm.name)
            .collect();
        assert_eq!(names, ["gated"]);
        let [first, mut second] = both;
        second.arms.clear();
        let refused = conclude(&[first, second], Vec::new())
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("first, second") && refused.contains("--arms"),
            "{refused}"
        );
    }

    #[test]
    fn runs_that_do_not_fit_together_are_refused_by_name() {
        type Change = fn(&mut Judged);
        let changes: [(Change, &str); 6] = [
            (
                |run| run.images[0].truth = 0,
                "labels of run \"second\" are not those of \"first\": image 2 is \"a\" here and \"b\" there",
            ),
            (|run| run.steps = 20, "steps of run \"second\" are 20"),
            (
                |run| run.seeds = vec![1],
                "trainings of each arm of run \"second\" are 1",
            ),
            (
                |run| run.classes.reverse(),
                "classes of run \"second\" are b, a",
            ),
            (
                |run| {
                    run.arms[1].models[1].answers.pop();
                },
                "answers of gated of run \"second\" hold 3 entries, 4",
            ),
            (
                |run| run.train_images.clear(),
                "train images of run \"second\" hold 0",
            ),
        ];
        for (change, why) in changes {
            let [first, mut second] = two();
            change(&mut second);
            let refused = conclude(&[first, second], Vec::new())
                .unwrap_err()
                .to_string();
            assert!(refused.contains(why), "{refused}");
        }
        assert_eq!(conclude(&[], Vec::new()).unwrap_err(), MismatchError::Empty);
        let [mut first, _] = two();
        first.images.clear();
        for model in first.arms.iter_mut().flat_map(|arm| &mut arm.models) {
            (model.answers, model.probabilities) = Default::default();
        }
        assert_eq!(
            conclude(&[first], Vec::new()).unwrap_err(),
            MismatchError::Empty
        );
    }
}
