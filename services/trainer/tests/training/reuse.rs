//! What is trained once: a finished model that is reused, one that is kept, and one whose files changed.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn extra_images_are_part_of_what_a_model_is_reused_for() {
    let bed = Bed::new(FakeStore::separable()).await;
    let with = |label: &str| StreamTrainingRequest {
        extra: vec![ExtraImage {
            image_id: "train-0".into(),
            label: label.into(),
        }],
        ..request(ModelKind::VitClassifier)
    };
    let (_, plain) = bed.train(request(ModelKind::VitClassifier)).await.unwrap();
    let (_, red) = bed.train(with("red")).await.unwrap();
    assert!(!red.reused);
    assert_ne!(red.revision, plain.revision);
    let (_, again) = bed.train(with("red")).await.unwrap();
    assert!(again.reused);
    let (_, blue) = bed.train(with("blue")).await.unwrap();
    assert!(!blue.reused);
    assert_ne!(blue.revision, red.revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_model_stays_when_its_output_is_trained_anew() {
    let bed = Bed::new(FakeStore::separable()).await;
    let with = |seed| StreamTrainingRequest {
        seed,
        keep: true,
        ..request(ModelKind::VitClassifier)
    };
    let revision =
        |of: &Finished| saga_models::directory::revision(Path::new(&of.directory)).unwrap();
    let (_, first) = bed.train(with(1)).await.unwrap();
    let (_, second) = bed.train(with(2)).await.unwrap();
    assert_ne!(first.directory, second.directory);
    for model in [&first, &second] {
        assert_eq!(revision(model), model.revision);
        assert_model_directory(model, &[]);
    }
    let (_, plain) = bed
        .train(StreamTrainingRequest {
            keep: false,
            ..with(2)
        })
        .await
        .unwrap();
    assert!(plain.reused && plain.directory.ends_with("run/model"));
    // One that was lost or damaged comes back with the same request.
    let lose = |directory: &Path| std::fs::remove_dir_all(directory).unwrap();
    let damage = |directory: &Path| {
        std::fs::remove_file(directory.join("golden.safetensors")).unwrap();
    };
    for hurt in [lose, damage] {
        hurt(Path::new(&second.directory));
        let (_, again) = bed.train(with(2)).await.unwrap();
        assert!(again.reused);
        assert_eq!(
            (&again.directory, revision(&again)),
            (&second.directory, second.revision.clone())
        );
        assert_checksums(Path::new(&again.directory));
    }
}

/// As whoever was given the directory checks it.
fn assert_checksums(directory: &Path) {
    let mut check = std::process::Command::new("sha256sum");
    check
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(directory);
    let output = check.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let listed = String::from_utf8(output.stdout).unwrap().lines().count();
    let folder = std::fs::read_dir(directory).unwrap();
    assert_eq!(
        listed + 2,
        folder.count(),
        "all files but the card and the list itself"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_model_with_a_changed_file_is_trained_anew() {
    let bed = Bed::new(FakeStore::separable()).await;
    let (_, first) = bed.train(request(ModelKind::VitClassifier)).await.unwrap();
    let directory = Path::new(&first.directory);
    assert_checksums(directory);
    preprocess::Config::vit(8).write(directory).unwrap();
    let (_, second) = bed.train(request(ModelKind::VitClassifier)).await.unwrap();
    assert!(!second.reused);
    assert_eq!(second.revision, first.revision);
    assert_checksums(directory);
}
