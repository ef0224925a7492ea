//! Verdicts, groups and corrected p-values from the answers of models.

use super::*;
use crate::evaluation::judged::JudgedImage;

const SEEDS: usize = 3;
/// Golden images of each class.
const IMAGES: usize = 12;

/// An arm whose models know this many of the golden images of each class, each the first ones.
fn arm(name: &str, known: &[usize]) -> JudgedArm {
    let others = known.len();
    let of_class = |(class, &known): (usize, &usize)| {
        (0..IMAGES).map(move |image| match image < known {
            true => class,
            false => (class + 1) % others,
        })
    };
    let answers: Vec<usize> = known.iter().enumerate().flat_map(of_class).collect();
    let model = JudgedModel {
        directory: "d".into(),
        revision: "r".into(),
        probabilities: vec![0.75; answers.len()],
        answers,
    };
    JudgedArm {
        name: name.into(),
        about: name.into(),
        added: vec![0; known.len()],
        models: vec![model; SEEDS],
    }
}

/// One run of these arms on classes of so many train images.
fn evaluated(train_images: &[u64], arms: Vec<JudgedArm>) -> Evaluation {
    let classes: Vec<String> = (b'a'..)
        .take(train_images.len())
        .map(|letter| char::from(letter).to_string())
        .collect();
    let image = |index: usize| JudgedImage {
        id: index.to_string(),
        subject: String::new(),
        truth: index / IMAGES,
    };
    let run = Judged {
        run_id: "run".into(),
        recipe: "recipe".into(),
        train_images: train_images.into(),
        seeds: (0..SEEDS as u64).collect(),
        steps: 10,
        images: (0..IMAGES * classes.len()).map(image).collect(),
        read_again: false,
        earlier_reads: Vec::new(),
        classes,
        arms,
    };
    conclude(&[run], Vec::new()).unwrap()
}

/// The verdict over two classes where plain knows 10 and 2 images of 12.
fn verdict(gated: [usize; 2], duplicate_tail: [usize; 2]) -> (verdict::Verdict, String) {
    let arms = vec![
        arm("plain", &[10, 2]),
        arm("gated", &gated),
        arm("duplicate_tail", &duplicate_tail),
        arm("placebo", &[10, 1]),
    ];
    let evaluation = evaluated(&[200, 10], arms);
    (evaluation.verdict, evaluation.reason)
}

#[test]
fn images_that_gain_more_than_every_control_are_merged() {
    let (found, reason) = verdict([10, 9], [10, 3]);
    assert_eq!(found, verdict::Verdict::Merge, "{reason}");
    // 7 of 24 images, balanced.
    assert!(
        reason.starts_with("gated synthetic images change balanced accuracy by +29.17 points"),
        "{reason}"
    );
    assert!(
        reason.contains("they beat duplicate_tail by +25.00 points"),
        "{reason}"
    );
    assert!(
        reason.ends_with("no arm was tuned: all share the recipe's settings, but for what each is there for, and the number of steps, 10"),
        "{reason}"
    );
}

#[test]
fn images_that_gain_nothing_or_less_than_a_control_are_not_merged() {
    for (gated, duplicate_tail, why) in [
        ([10, 2], [10, 2], "which includes zero"),
        ([2, 2], [10, 2], "which is a loss"),
        (
            [10, 7],
            [10, 12],
            "against duplicate_tail, which has nothing new in it",
        ),
    ] {
        let (found, reason) = verdict(gated, duplicate_tail);
        assert_eq!(found, verdict::Verdict::DoNotMerge, "{reason}");
        assert!(reason.contains(why), "{reason}");
    }
}

#[test]
fn a_class_that_lost_recall_leaves_the_verdict_open() {
    let (found, reason) = verdict([5, 12], [10, 2]);
    assert_eq!(found, verdict::Verdict::Undecided, "{reason}");
    assert!(reason.contains("but recall fell for a;"), "{reason}");
}

#[test]
fn groups_are_means_of_their_classes_recalls() {
    let arms = vec![arm("plain", &[12, 6, 3, 0])];
    let evaluation = evaluated(&[101, 100, 19, 5], arms);
    let found: Vec<_> = evaluation.arms[0].groups.clone().into_iter().collect();
    assert_eq!(
        found,
        [
            (Group::Many, 1.0),
            (Group::Medium, 0.5),
            (Group::Few, 0.125)
        ]
    );
    let evaluation = evaluated(&[101, 101], vec![arm("plain", &[12, 6])]);
    let found: Vec<_> = evaluation.arms[0].groups.clone().into_iter().collect();
    assert_eq!(found, [(Group::Many, 0.75)]);
}

/// Holm over the three classes: 3 times the smallest p-value, 2 times the next, the last as it is, none less than the one before.
#[test]
fn p_values_of_classes_are_corrected_for_their_number() {
    let arms = vec![arm("plain", &[6, 6, 6]), arm("gated", &[12, 9, 8])];
    let evaluation = evaluated(&[200, 200, 200], arms);
    let recall = &evaluation.comparisons[0].recall;
    let [a, b, c] = ["a", "b", "c"].map(|label| recall[label]);
    let [raw_a, raw_b, raw_c] = [a, b, c].map(|class| class.estimate.p_value);
    assert!(raw_a < raw_b && raw_b < raw_c && raw_c < 0.5, "{recall:?}");
    let wanted_b = (2.0 * raw_b).max(3.0 * raw_a);
    for (found, wanted) in [
        (a.holm_p, 3.0 * raw_a),
        (b.holm_p, wanted_b),
        (c.holm_p, raw_c.max(wanted_b)),
    ] {
        assert!((found - wanted.min(1.0)).abs() < 1e-12, "{recall:?}");
    }
}
