//! What ends a training before its time: a caller who leaves, bad input, unusable data, a loss that diverges.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn leaving_the_stream_cancels_and_frees_the_output() {
    let bed = Bed::new(FakeStore::separable()).await;
    let mut endless = request(ModelKind::VitClassifier);
    endless.settings.as_mut().unwrap().steps = 10_000_000;
    let mut stream = bed.stream(endless.clone()).await.unwrap();
    while !matches!(
        stream.message().await.unwrap().unwrap().event,
        Some(Event::Epoch(_))
    ) {}
    let busy = bed.train(endless).await.unwrap_err();
    assert_eq!(busy.code(), Code::Aborted, "{busy}");
    drop(stream);
    // One job at a time: this one starts only when the endless one has ended.
    loop {
        match bed.train(request(ModelKind::VitClassifier)).await {
            Ok((_, finished)) => break assert!(!finished.reused),
            Err(status) => assert_eq!(status.code(), Code::Aborted, "{status}"),
        }
    }
    let left: Vec<_> = std::fs::read_dir(bed.models.path().join("run"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    let expected = ["model", "model-last-good"].map(std::ffi::OsString::from);
    assert_eq!(left.into_iter().collect::<BTreeSet<_>>(), expected.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_goes_on_where_it_was() {
    let bed = Bed::new(FakeStore::separable()).await;
    let mut long = request(ModelKind::VitClassifier);
    long.settings.as_mut().unwrap().steps = 1000;
    let mut stream = bed.stream(long.clone()).await.unwrap();
    while !matches!(
        stream.message().await.unwrap().unwrap().event,
        Some(Event::Epoch(_))
    ) {}
    drop(stream);
    let last_good = bed.models.path().join("run/model-last-good");
    let (mut resumed_at, mut epochs, mut finished) = (0, Vec::new(), None);
    while finished.is_none() {
        // Busy until the cancelled one has left its weights behind.
        let Ok(mut stream) = bed.stream(long.clone()).await else {
            continue;
        };
        while let Ok(Some(answer)) = stream.message().await {
            match answer.event.unwrap() {
                Event::Started(started) => {
                    resumed_at = started.resumed_at_step;
                    assert!(last_good.join("model.safetensors").is_file());
                }
                Event::Epoch(epoch) => epochs.push(epoch.epoch),
                Event::Finished(done) => finished = Some(done),
            }
        }
    }
    assert!((1..1000).contains(&resumed_at), "{resumed_at}");
    assert_eq!(epochs, (1..=500).collect::<Vec<_>>());
    assert!(!last_good.exists() && !bed.models.path().join("run/.model.training").exists());

    long.output = "run/undisturbed".into();
    let (_, undisturbed) = bed.train(long).await.unwrap();
    assert_eq!(finished.unwrap().revision, undisturbed.revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_named() {
    let bed = Bed::new(FakeStore::separable()).await;
    let mut bad = request(ModelKind::VitClassifier);
    bad.settings.as_mut().unwrap().batch_size = 0;
    let status = bed.train(bad).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (
            Code::InvalidArgument,
            "settings.batch_size: is 0; it must lie in 2 to 4096"
        )
    );

    let unknown = StreamTrainingRequest {
        dataset_id: "nothing".into(),
        ..request(ModelKind::VitClassifier)
    };
    let status = bed.train(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");

    let mut prompts = clip_request();
    prompts.prompts.remove("red");
    let status = bed.train(prompts).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (
            Code::InvalidArgument,
            "prompts: have no text for class 'red'; add at least one"
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_data_is_named() {
    for (store, reason) in [
        (FakeStore::separable().without_val(), "EMPTY_SPLIT"),
        (
            FakeStore::separable().with_class("green"),
            "CLASS_WITHOUT_IMAGES",
        ),
        (FakeStore::separable().with_row("mauve"), "UNKNOWN_LABEL"),
        (FakeStore::separable().with_broken_image(), "BAD_IMAGE"),
        (
            FakeStore::separable().relabelled_while_read(),
            "DATASET_CHANGED",
        ),
    ] {
        let status = Bed::new(store)
            .await
            .train(request(ModelKind::VitClassifier))
            .await
            .unwrap_err();
        assert_eq!(
            saga_chassis::status::reason(&status).as_deref(),
            Some(reason),
            "{status}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diverging_training_keeps_the_last_good_weights_beside_the_output() {
    let bed = Bed::new(FakeStore::separable()).await;
    let (_, good) = bed.train(request(ModelKind::VitClassifier)).await.unwrap();
    let mut wild = request(ModelKind::VitClassifier);
    let settings = wild.settings.as_mut().unwrap();
    (
        settings.learning_rate,
        settings.weight_decay,
        settings.gradient_clip,
    ) = (1.0, 10.0, 0.0);
    (settings.steps, settings.warmup, settings.ema_decay) = (400, 0.0, 0.0);
    let status = bed.train(wild).await.unwrap_err();
    assert_eq!(
        saga_chassis::status::reason(&status).as_deref(),
        Some("DIVERGED"),
        "{status}"
    );
    assert_eq!(
        saga_models::directory::revision(Path::new(&good.directory)).unwrap(),
        good.revision
    );
    assert!(
        bed.models
            .path()
            .join("run/model-last-good/model.safetensors")
            .is_file()
    );
}
