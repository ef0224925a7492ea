//! The plan of a labelled, long-tailed data set: which person shows which expression in which picture. The plan is cheap;
//! each picture is rendered when asked for, in any order and on any thread.

use std::collections::BTreeMap;

use super::expression::Label;
use super::record::{SIZES, SceneRecord};
use super::render::render;
use super::rng::{Rng, derive};
use super::scene::Scene;
use super::{StudioError, encode};

/// Images of each class when nothing else is asked for: uneven as data sets from the wild are. Every class has enough
/// for a golden set of 150 and for some dozens of images to learn from.
pub const LONG_TAIL: [(Label, u32); 8] = [
    (Label::Neutral, 650),
    (Label::Happy, 525),
    (Label::Surprise, 400),
    (Label::Sad, 325),
    (Label::Anger, 300),
    (Label::Disgust, 275),
    (Label::Fear, 265),
    (Label::Contempt, 265),
];

/// Most images of one plan.
pub(crate) const MAX_IMAGES: u64 = 1_000_000;

/// Pictures of one person: at least 2, at most this many.
const MAX_PER_SUBJECT: usize = 6;

/// A data set that has yet to be rendered.
#[derive(Clone, Debug)]
pub struct DatasetPlan {
    items: Vec<DatasetItem>,
}

/// One picture that has yet to be rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetItem {
    /// Relative to the data set, for example `fear/fear_0001.jpg`.
    pub path: String,
    pub label: Label,
    /// Anonymous id of the person, for example `p0123`.
    pub subject: String,
    record: SceneRecord,
}

impl DatasetItem {
    /// The picture as JPEG bytes with its scene inside.
    pub fn render(&self) -> Result<Vec<u8>, StudioError> {
        let scene = self.record.scene();
        let jpeg = encode(&render(&scene, self.record.size), scene.camera.quality)?;
        self.record.embed(&jpeg)
    }
}

impl DatasetPlan {
    /// All pictures, ordered by class and number.
    pub fn items(&self) -> &[DatasetItem] {
        &self.items
    }
}

/// Plans the data set of a seed. Classes that `counts` does not name have no pictures; `size` is the side in pixels.
///
/// # Errors
/// [`StudioError::Size`] outside 64 to 512 pixels, [`StudioError::TooMany`] beyond a million pictures.
pub fn plan(
    seed: u64,
    counts: Option<&BTreeMap<Label, u32>>,
    size: u32,
) -> Result<DatasetPlan, StudioError> {
    if !SIZES.contains(&size) {
        return Err(StudioError::Size(size));
    }
    let counts = counts
        .cloned()
        .unwrap_or_else(|| LONG_TAIL.into_iter().collect());
    let total: u64 = counts.values().map(|&count| u64::from(count)).sum();
    if total > MAX_IMAGES {
        return Err(StudioError::TooMany(total));
    }
    let pictures: Vec<(Label, u32)> = counts
        .iter()
        .flat_map(|(&label, &count)| (1..=count).map(move |number| (label, number)))
        .collect();
    let subjects = deal(pictures.len(), &mut Rng::new(seed, "subjects"));
    let items = pictures
        .into_iter()
        .zip(subjects)
        .map(|((label, number), subject)| item(seed, label, number, subject, size));
    Ok(DatasetPlan {
        items: items.collect(),
    })
}

fn item(seed: u64, label: Label, number: u32, subject: usize, size: u32) -> DatasetItem {
    let path = format!("{label}/{label}_{number:04}.jpg");
    let person = derive(seed, &format!("subject {subject}"));
    let scene = Scene::of(person, label, derive(seed, &path));
    DatasetItem {
        record: SceneRecord::of(&scene, size),
        path,
        label,
        subject: format!("p{subject:04}"),
    }
}

/// Deals pictures to persons at random: 2 to 6 each, as far as the total allows. Numbers of persons start at 1.
fn deal(pictures: usize, rng: &mut Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..pictures).collect();
    for index in (1..pictures).rev() {
        order.swap(index, rng.below(index + 1));
    }
    let mut subjects = vec![0; pictures];
    let (mut dealt, mut subject) = (0, 0);
    while dealt < pictures {
        let left = pictures - dealt;
        let mut share = (2 + rng.below(MAX_PER_SUBJECT - 1)).min(left);
        // Nobody may be left with a single picture.
        if left - share == 1 {
            share = if share == 2 { 3 } else { share - 1 };
        }
        subject += 1;
        for &picture in &order[dealt..dealt + share] {
            subjects[picture] = subject;
        }
        dealt += share;
    }
    subjects
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::studio::rng::Rng;

    #[test]
    fn the_long_tail_has_its_counts() {
        let plan = plan(1, None, 128).unwrap();
        for (label, count) in LONG_TAIL {
            assert_eq!(
                plan.items()
                    .iter()
                    .filter(|item| item.label == label)
                    .count(),
                count as usize
            );
        }
        let mut paths: Vec<&str> = plan.items().iter().map(|item| item.path.as_str()).collect();
        paths.dedup();
        assert_eq!(paths.len(), 3005);
        assert!(paths.contains(&"fear/fear_0265.jpg"));
    }

    #[test]
    fn a_subject_is_one_person_in_several_scenes() {
        let plan = plan(2, None, 128).unwrap();
        let first = &plan.items()[0];
        let mates: Vec<_> = plan
            .items()
            .iter()
            .filter(|item| item.subject == first.subject)
            .collect();
        assert!(mates.len() >= 2);
        assert!(
            mates
                .iter()
                .all(|mate| mate.record.identity == first.record.identity)
        );
        assert!(
            mates
                .iter()
                .skip(1)
                .all(|mate| mate.record.pose != mates[0].record.pose)
        );
    }

    #[test]
    fn pictures_do_not_depend_on_the_rest_of_the_plan_but_on_the_seed() {
        let counts = BTreeMap::from([(Label::Fear, 3), (Label::Sad, 4)]);
        let (first, again) = (
            plan(3, Some(&counts), 64).unwrap(),
            plan(3, Some(&counts), 64).unwrap(),
        );
        let forwards: Vec<_> = first
            .items()
            .iter()
            .map(|item| item.render().unwrap())
            .collect();
        let mut backwards: Vec<_> = again
            .items()
            .iter()
            .rev()
            .map(|item| item.render().unwrap())
            .collect();
        backwards.reverse();
        assert_eq!(forwards, backwards);
        assert_ne!(
            plan(4, Some(&counts), 64).unwrap().items()[0].record,
            first.items()[0].record
        );
        let record = SceneRecord::extract(&forwards[0]).unwrap();
        assert_eq!(record, first.items()[0].record);
    }

    #[test]
    fn plans_out_of_range_are_refused() {
        assert!(matches!(plan(1, None, 63), Err(StudioError::Size(63))));
        let counts = BTreeMap::from([(Label::Happy, u32::MAX), (Label::Sad, u32::MAX)]);
        assert!(matches!(
            plan(1, Some(&counts), 64),
            Err(StudioError::TooMany(_))
        ));
    }

    proptest! {
        #[test]
        fn everyone_has_two_to_six_pictures(pictures in 2_usize..400, seed in any::<u64>()) {
            let subjects = deal(pictures, &mut Rng::new(seed, "subjects"));
            let mut counts = BTreeMap::new();
            for subject in subjects {
                *counts.entry(subject).or_insert(0) += 1;
            }
            prop_assert!(counts.values().all(|count| (2..=MAX_PER_SUBJECT).contains(count)));
            prop_assert!(!counts.contains_key(&0));
        }
    }
}
