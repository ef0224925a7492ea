//! The model registry: versions, their lineage, and which of them serves.

use std::collections::BTreeMap;

use label_store::{
    StoreError,
    admission::settle,
    registry::{Lineage, NewModel, Stage, list, promote, register, serving},
};

use crate::common::{Fixture, attempt, plan};

const COUNTS: &[(&str, u32)] = &[("neutral", 40), ("fear", 10)];

fn model(revision: u64) -> NewModel {
    NewModel {
        name: "emotion".into(),
        directory: "/models/augmented".into(),
        revision: format!("{revision:016x}"),
        lineage: Lineage {
            dataset_id: "faces".into(),
            recipe: "emotion".into(),
            seed: u64::MAX,
            ..Lineage::default()
        },
        metrics: BTreeMap::from([("val_macro_f1".into(), 0.5)]),
    }
}

async fn fixture() -> Fixture {
    Fixture::with_run(COUNTS, 0.6, None).await
}

#[tokio::test]
async fn versions_count_from_one_and_the_same_weights_are_one() {
    let fixture = fixture().await;
    let first = register(&fixture.store, model(1)).await.unwrap();
    assert_eq!((first.version, first.stage), (1, Stage::Candidate));
    assert_eq!(first.model, model(1));
    let second = register(&fixture.store, model(2)).await.unwrap();
    assert_eq!(second.version, 2);
    fixture.advance(1_000);
    assert_eq!(register(&fixture.store, model(1)).await.unwrap(), first);
    let other = NewModel {
        name: "other".into(),
        ..model(1)
    };
    assert_eq!(register(&fixture.store, other).await.unwrap().version, 1);
    let versions = list(&fixture.store, "").await.unwrap();
    let named: Vec<_> = versions
        .iter()
        .map(|version| (version.model.name.as_str(), version.version))
        .collect();
    assert_eq!(named, [("emotion", 2), ("emotion", 1), ("other", 1)]);
    let mut changed = model(1);
    changed.lineage.seed = 3;
    let changed = register(&fixture.store, changed).await.unwrap();
    assert_eq!(changed.version, 3, "of another lineage");
}

#[tokio::test]
async fn one_version_serves_and_an_older_one_may_again() {
    let fixture = fixture().await;
    for revision in 1..=2 {
        register(&fixture.store, model(revision)).await.unwrap();
    }
    assert_eq!(serving(&fixture.store, "emotion").await.unwrap(), None);
    for version in [1, 2, 1] {
        fixture.advance(1_000);
        promote(&fixture.store, "emotion", version, Stage::Serving)
            .await
            .unwrap();
        let serves = serving(&fixture.store, "emotion").await.unwrap().unwrap();
        assert_eq!(serves.version, version);
        assert!(serves.staged_at > serves.registered_at);
    }
    let stages: Vec<_> = list(&fixture.store, "emotion")
        .await
        .unwrap()
        .into_iter()
        .map(|version| version.stage)
        .collect();
    assert_eq!(stages, [Stage::Archived, Stage::Serving]);
}

#[tokio::test]
async fn a_version_that_is_not_there_dethrones_nobody() {
    let fixture = fixture().await;
    register(&fixture.store, model(1)).await.unwrap();
    promote(&fixture.store, "emotion", 1, Stage::Serving)
        .await
        .unwrap();
    let refused = promote(&fixture.store, "emotion", 7, Stage::Serving).await;
    assert!(matches!(
        refused,
        Err(StoreError::NotFound {
            reason: "NO_SUCH_MODEL",
            ..
        })
    ));
    let serves = serving(&fixture.store, "emotion").await.unwrap().unwrap();
    assert_eq!(serves.version, 1);
}

#[tokio::test]
async fn the_snapshot_tells_what_was_trained_on() {
    let fixture = fixture().await;
    let real = register(&fixture.store, model(1)).await.unwrap();
    let again = register(&fixture.store, model(2)).await.unwrap();
    assert_eq!(real.dataset_snapshot, again.dataset_snapshot);
    assert_eq!(real.dataset_snapshot.len(), 64);
    let with_run = |revision| {
        let mut model = model(revision);
        model.lineage.synthetic_run_id = "run".into();
        model
    };
    let none = register(&fixture.store, with_run(3)).await.unwrap();
    assert_eq!(
        none.dataset_snapshot, real.dataset_snapshot,
        "nothing accepted yet"
    );
    let sources = fixture.train_ids(0).await[..1].to_vec();
    assert_eq!(plan(&fixture.store, "fear", 1, &sources, 1).await, 1);
    settle(&fixture.store, attempt("run/fear/00000", 0, 7))
        .await
        .unwrap();
    let one = register(&fixture.store, with_run(4)).await.unwrap();
    assert_ne!(one.dataset_snapshot, real.dataset_snapshot);
    let real_again = register(&fixture.store, model(5)).await.unwrap();
    assert_eq!(real_again.dataset_snapshot, real.dataset_snapshot);
}

#[tokio::test]
async fn bad_models_are_refused_by_field() {
    let fixture = fixture().await;
    let cases = [
        (
            "model.name",
            NewModel {
                name: "a b".into(),
                ..model(1)
            },
        ),
        (
            "model.directory",
            NewModel {
                directory: String::new(),
                ..model(1)
            },
        ),
        (
            "model.revision",
            NewModel {
                revision: "XYZ".into(),
                ..model(1)
            },
        ),
        (
            "model.metrics[\"loss\"]",
            NewModel {
                metrics: BTreeMap::from([("loss".into(), f64::NAN)]),
                ..model(1)
            },
        ),
    ];
    for (wanted, model) in cases {
        match register(&fixture.store, model).await {
            Err(StoreError::Invalid { field, .. }) => assert_eq!(field, wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }
    let mut orphan = model(1);
    orphan.lineage.parent = 9;
    assert!(matches!(
        register(&fixture.store, orphan).await,
        Err(StoreError::NotFound { .. })
    ));
    let mut homeless = model(1);
    homeless.lineage.dataset_id = "nowhere".into();
    assert!(register(&fixture.store, homeless).await.is_err());
}
