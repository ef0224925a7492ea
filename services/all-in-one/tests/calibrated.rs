//! A run that chooses the thresholds of its gates itself, on what the studio knows of its own faults.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use orchestrator::results::Results;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_calibrates_all_of_its_gates_on_edits_of_known_truth() {
    let folder = tempfile::tempdir().unwrap();
    let services = common::start(folder.path()).await;
    let dataset = folder.path().join("data");
    common::render(&services, &dataset).await;

    let recipe = common::RECIPE.replace("calibration_fraction = 0.1", "calibration_fraction = 0.4")
        + "\n[calibration]\nmax_bad_accepts = 0.5\nconfidence = 0.7\n";
    let results = common::run(&services, "calibrated", &recipe, &dataset).await;
    services.stop().await.unwrap();

    let results: Results = serde_json::from_value(results).unwrap();
    let calibration = results.calibration.unwrap();
    assert_eq!(calibration.gates, ["ssim", "clip", "vit"]);
    assert!(results.seconds["calibration"] > 0.0);
    assert!(calibration.certified() > 0, "{calibration:?}");
    let images: u32 = (results.dataset.splits.values())
        .map(|split| split.calibration)
        .sum();
    for (label, class) in &calibration.classes {
        // An edit starts from another class; nearly every image gives one with a fault and one without.
        let sources = u64::from(images - results.dataset.splits[label].calibration);
        for judged in [class.judged.bad, class.judged.good] {
            assert!(
                judged > sources / 2 && judged <= sources,
                "{label}: {class:?} of {sources}"
            );
        }
        let Some(chosen) = &class.chosen else {
            continue;
        };
        assert!(chosen.bound <= 0.5, "{label}: {class:?}");
        assert!(chosen.accepted.good > 0, "{label}: {class:?}");
        for gate in &results.gates {
            let min = gate.thresholds_for(label)["min"];
            assert_eq!(min, chosen.min[&gate.name], "{label}, {}", gate.name);
        }
    }
}
