//! Import: layouts, bad rows, repetition, a full disk.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use image::ImageFormat;
use label_store::{Audit, StoreError, blobs::WriteStep, dataset, import::ImportReport};

use saga_client::conformance::png_declaring;

use crate::common::{
    Fixture, POLICY, affectnet, classes, encode, import, noise, picture, totals, write_labels,
};

const COUNTS: &[(&str, u32)] = &[("neutral", 10), ("happy", 6)];

fn reasons(report: &ImportReport) -> Vec<(u64, &'static str)> {
    report
        .bad_rows
        .iter()
        .map(|row| (row.line, row.reason))
        .collect()
}

/// Adds one bad file of each kind to a data set; returns their rows in order.
fn add_bad_rows(root: &Path) -> Vec<(String, String)> {
    let jpeg = encode(&picture(1), ImageFormat::Jpeg);
    let outside = root.parent().unwrap().join("outside.png");
    fs::write(&outside, noise(99)).unwrap();
    std::os::unix::fs::symlink(&outside, root.join("happy/link.png")).unwrap();
    fs::write(root.join("happy/empty.jpg"), []).unwrap();
    fs::write(root.join("happy/cut.jpg"), &jpeg[..jpeg.len() / 2]).unwrap();
    fs::write(root.join("happy/text.jpg"), "not a picture").unwrap();
    fs::write(root.join("happy/bomb.png"), png_declaring(60_000, 60_000)).unwrap();
    let absolute = outside.display().to_string();
    [
        ("neutral/0000.png", "bored"),
        ("../outside.png", "happy"),
        (absolute.as_str(), "happy"),
        ("happy/link.png", "happy"),
        ("happy/none.png", "happy"),
        ("happy/empty.jpg", "happy"),
        ("happy/cut.jpg", "happy"),
        ("happy/text.jpg", "happy"),
        ("happy/bomb.png", "happy"),
        ("./neutral/0001.png", "happy"),
        ("", "happy"),
        ("happy/0001.png", ""),
    ]
    .map(|(path, label)| (path.to_owned(), label.to_owned()))
    .to_vec()
}

#[tokio::test]
async fn bad_rows_are_named_and_good_ones_kept() {
    let fixture = Fixture::new().await;
    let root = fixture.folder.path().join("faces");
    let mut rows = affectnet(&root, COUNTS);
    // The first row is replaced by one with an unknown label.
    rows.remove(0);
    rows.extend(add_bad_rows(&root));
    write_labels(&root, &rows);
    let report = import(&fixture.store, &root, &classes(COUNTS))
        .await
        .unwrap();
    let expected = [
        "UNKNOWN_LABEL",
        "PATH_ESCAPES",
        "PATH_ESCAPES",
        "PATH_ESCAPES",
        "MISSING_FILE",
        "EMPTY_FILE",
        "TRUNCATED",
        "NOT_AN_IMAGE",
        "TOO_MANY_PIXELS",
        "DUPLICATE_ROW",
        "MALFORMED_ROW",
        "MISSING_LABEL",
    ];
    // Line 1 is the header, 15 good rows follow.
    assert_eq!(reasons(&report), (17..).zip(expected).collect::<Vec<_>>());
    assert_eq!(
        (report.layout, report.imported, report.rejected),
        ("affectnet", 15, 12)
    );
    assert!(report.bad_rows.iter().all(|row| !row.message.is_empty()));
    assert_eq!(fixture.store.audit().await.unwrap(), Audit::default());
}

#[tokio::test]
async fn importing_again_adds_nothing_and_notices_changes() {
    let fixture = Fixture::new().await;
    let root = fixture.folder.path().join("faces");
    affectnet(&root, COUNTS);
    let first = import(&fixture.store, &root, &classes(COUNTS))
        .await
        .unwrap();
    let again = import(&fixture.store, &root, &classes(COUNTS))
        .await
        .unwrap();
    assert_eq!((first.imported, first.unchanged), (16, 0));
    assert_eq!((again.imported, again.unchanged), (0, 16));
    fs::write(root.join("happy/0000.png"), noise(5)).unwrap();
    let changed = import(&fixture.store, &root, &classes(COUNTS))
        .await
        .unwrap();
    assert_eq!(
        (changed.unchanged, reasons(&changed)),
        (15, vec![(12, "CHANGED")])
    );
}

#[tokio::test]
async fn a_split_data_set_takes_no_more_images() {
    let fixture = Fixture::new().await;
    let root = fixture.folder.path().join("faces");
    let mut rows = affectnet(&root, COUNTS);
    import(&fixture.store, &root, &classes(COUNTS))
        .await
        .unwrap();
    let counts = dataset::divide(&fixture.store, "faces", POLICY)
        .await
        .unwrap();
    assert_eq!(totals(&counts), [[10, 5, 1, 1, 3], [6, 3, 1, 1, 1]]);
    fs::write(root.join("happy/new.png"), noise(5)).unwrap();
    rows.push(("happy/new.png".into(), "happy".into()));
    write_labels(&root, &rows);
    let report = import(&fixture.store, &root, &classes(COUNTS))
        .await
        .unwrap();
    assert_eq!(
        (report.unchanged, reasons(&report)),
        (16, vec![(18, "ALREADY_SPLIT")])
    );
    let other = dataset::divide(
        &fixture.store,
        "faces",
        label_store::split::Policy { seed: 12, ..POLICY },
    )
    .await;
    assert!(matches!(
        other,
        Err(StoreError::Precondition {
            reason: "ALREADY_SPLIT",
            ..
        })
    ));
    assert_eq!(
        dataset::divide(&fixture.store, "faces", POLICY)
            .await
            .unwrap(),
        counts
    );
}

#[tokio::test]
async fn an_image_folder_takes_its_labels_from_its_folders() {
    let fixture = Fixture::new().await;
    let root = fixture.folder.path().join("faces");
    affectnet(&root, COUNTS);
    fs::remove_file(root.join("labels.csv")).unwrap();
    fs::create_dir_all(root.join("happy/deeper")).unwrap();
    fs::rename(
        root.join("happy/0000.png"),
        root.join("happy/deeper/0000.PNG"),
    )
    .unwrap();
    fs::create_dir_all(root.join("bored")).unwrap();
    fs::write(root.join("bored/a.png"), noise(3)).unwrap();
    fs::write(root.join("happy/notes.txt"), "ignored").unwrap();
    let report = import(&fixture.store, &root, &classes(COUNTS))
        .await
        .unwrap();
    assert_eq!((report.layout, report.imported), ("imagefolder", 16));
    assert_eq!(reasons(&report), [(0, "UNKNOWN_LABEL")]);
}

#[tokio::test]
async fn manifests_take_names_and_indices_and_subjects() {
    for (name, text) in [
        (
            "list.csv",
            "file_name,label,subject\nneutral/0000.png,0,ann\nhappy/0000.png,happy,ann\nhappy/0001.png,2,bob\n",
        ),
        (
            "list.jsonl",
            "{\"image\":\"neutral/0000.png\",\"label\":0,\"subject\":\"ann\"}\n\n{\"path\":\"happy/0000.png\",\
             \"label\":\"happy\",\"subject\":\"ann\"}\n{broken\n",
        ),
    ] {
        let fixture = Fixture::new().await;
        let root = fixture.folder.path().join("faces");
        affectnet(&root, COUNTS);
        fs::write(root.join(name), text).unwrap();
        let report = import(&fixture.store, &root.join(name), &classes(COUNTS))
            .await
            .unwrap();
        assert_eq!((report.imported, report.rejected), (2, 1), "{name}");
        assert_eq!(report.bad_rows[0].line, 4);
        assert_eq!(dataset::subjects(&fixture.store, "faces").await.unwrap(), 1);
    }
}

#[tokio::test]
async fn what_is_wrong_as_a_whole_names_the_column_the_folder_and_the_field() {
    let fixture = Fixture::new().await;
    let root = fixture.folder.path().join("faces");
    fs::create_dir_all(&root).unwrap();
    let message = |error: StoreError| error.to_string();
    let empty = message(
        import(&fixture.store, &root, &classes(COUNTS))
            .await
            .unwrap_err(),
    );
    assert!(
        empty.starts_with("path: ") && empty.contains("names no images"),
        "{empty}"
    );
    fs::write(root.join("labels.csv"), "pth,class\na.png,happy\n").unwrap();
    let column = message(
        import(&fixture.store, &root, &classes(COUNTS))
            .await
            .unwrap_err(),
    );
    assert!(
        column.contains("has no column 'label'; its columns are: pth, class"),
        "{column}"
    );
    let relative = message(
        import(&fixture.store, Path::new("faces"), &classes(COUNTS))
            .await
            .unwrap_err(),
    );
    assert!(relative.contains("is not absolute"), "{relative}");
    let twice = message(
        import(&fixture.store, &root, &["a".into(), "a".into()])
            .await
            .unwrap_err(),
    );
    assert!(twice.starts_with("classes[1]: "), "{twice}");
    assert!(
        dataset::get(&fixture.store, "faces").await.is_err(),
        "nothing was registered"
    );
}

#[tokio::test]
async fn a_full_disk_keeps_what_is_there_and_the_next_import_completes() {
    let fixture = Fixture::new().await;
    let root = fixture.folder.path().join("faces");
    affectnet(&root, COUNTS);
    let left = Arc::new(AtomicUsize::new(7));
    let full = fixture
        .store
        .clone()
        .with_write_check(Arc::new(move |step| {
            let room = step == WriteStep::Placed
                || left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                    .is_ok();
            if room {
                Ok(())
            } else {
                Err(io::ErrorKind::StorageFull.into())
            }
        }));
    let error = import(&full, &root, &classes(COUNTS)).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::DiskFull { folder } if folder.ends_with("store/blobs")),
        "{error}"
    );
    let report = import(&fixture.store, &root, &classes(COUNTS))
        .await
        .unwrap();
    assert_eq!((report.imported, report.rejected), (16, 0));
    assert_eq!(fixture.store.audit().await.unwrap(), Audit::default());
}
