//! The shared photographs, where they are at hand: import, split, and what holds of it.

use std::{collections::HashMap, path::Path, time::Instant};

use label_store::{
    dataset, images,
    split::{Policy, Side},
};

use crate::common::{Fixture, import, totals};

const CLASSES: [&str; 8] = [
    "neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt",
];

#[tokio::test]
async fn five_thousand_photographs_are_imported_and_split_by_person() {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let Some(root) = above
        .map(|folder| folder.join("shared/data/facial-expressions"))
        .find(|data| data.is_dir())
    else {
        eprintln!("skipped: there is no shared/data/facial-expressions beside the repository");
        return;
    };
    let fixture = Fixture::new().await;
    let start = Instant::now();
    let report = import(&fixture.store, &root, &CLASSES.map(str::to_owned))
        .await
        .unwrap();
    println!("imported {} in {:?}", report.imported, start.elapsed());
    assert_eq!(
        (report.layout, report.imported, report.rejected),
        ("affectnet", 5217, 0)
    );
    let policy = Policy {
        golden_per_class: 150,
        golden_fraction: 0.3,
        val_fraction: 0.15,
        calibration_fraction: 0.1,
        seed: 1,
    };
    let start = Instant::now();
    let counts = dataset::divide(&fixture.store, "faces", policy)
        .await
        .unwrap();
    println!("split in {:?}: {:?}", start.elapsed(), totals(&counts));
    for class in &counts {
        assert!(class.train >= 1 && class.golden <= 150);
        assert!(f64::from(class.golden) <= 0.3 * f64::from(class.total));
        // All pictures of disgust show five people, so its quotas are met only roughly.
        assert!(
            f64::from(class.golden) >= 0.4 * (0.3 * f64::from(class.total)).floor().min(150.0),
            "{class:?}"
        );
        assert!(class.val >= 1, "{class:?}");
    }
    let mut side_of: HashMap<String, Side> = HashMap::new();
    for side in [Side::Train, Side::Val, Side::Calibration] {
        for row in images::rows(&fixture.store, "faces", side).await.unwrap() {
            if !row.subject.is_empty() {
                assert_eq!(*side_of.entry(row.subject).or_insert(side), side);
            }
        }
    }
}
