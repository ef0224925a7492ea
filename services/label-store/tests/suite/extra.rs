//! Images that join the train split under a label of the caller's choice.

use futures::TryStreamExt as _;
use saga_proto::{
    generator::v1::Candidate,
    labelstore::v1::{self, ExtraImage, Split},
    r#type::v1::Image,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::{
    common::noise,
    grpc::{Clients, create_run, read, read_split, served},
};

async fn with_extra(
    clients: &mut Clients,
    split: Split,
    extra: &[(&str, &str)],
) -> Result<Vec<v1::Row>, Status> {
    let extra = extra.iter().map(|(image_id, label)| ExtraImage {
        image_id: (*image_id).to_owned(),
        label: (*label).to_owned(),
    });
    let request = v1::ReadSplitRequest {
        dataset_id: "faces".into(),
        split: split.into(),
        extra: extra.collect(),
        ..v1::ReadSplitRequest::default()
    };
    read_split(clients, request).await
}

/// A candidate for "fear" that a gate rejected.
async fn reject_one(clients: &mut Clients, source: &str) {
    create_run(clients).await;
    let plan = v1::SlotPlan {
        target_label: "fear".into(),
        ordinal: 0,
        source_image_ids: vec![source.to_owned()],
        tries_per_source: 1,
    };
    let slots = v1::AddSlotsRequest {
        run_id: "run".into(),
        slots: vec![plan],
    };
    clients.runs.add_slots(slots).await.unwrap();
    let lease = v1::LeaseSlotsRequest {
        run_id: "run".into(),
        holder: "test".into(),
        limit: 1,
        ttl: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        ..v1::LeaseSlotsRequest::default()
    };
    let leased = clients.runs.lease_slots(lease).await.unwrap().into_inner();
    let request = v1::SettleCandidateRequest {
        run_id: "run".into(),
        slot_id: leased.slots[0].slot_id.clone(),
        candidate_id: "rejected".into(),
        candidate: Some(Candidate {
            image: Some(Image {
                data: noise(6).into(),
                blake3: String::new(),
            }),
            ..Candidate::default()
        }),
        rejected_by: "ssim".into(),
        ..v1::SettleCandidateRequest::default()
    };
    let settled = clients.runs.settle_candidate(request).await.unwrap();
    assert_eq!(settled.into_inner().settlement(), v1::Settlement::Exhausted);
}

#[tokio::test]
async fn train_images_and_candidates_join_the_train_split_under_any_label() {
    let folder = tempfile::tempdir().unwrap();
    let shutdown = CancellationToken::new();
    let mut clients = served(folder.path(), &shutdown).await;
    let train = read(&mut clients, Split::Train, "").await.unwrap();
    let real = train.iter().find(|row| row.label == "neutral").unwrap();
    reject_one(&mut clients, &real.image_id).await;

    let extra = [
        (real.image_id.as_str(), "neutral"),
        ("rejected", "fear"),
        ("rejected", "neutral"),
    ];
    let rows = with_extra(&mut clients, Split::Train, &extra)
        .await
        .unwrap();
    assert_eq!(rows[..train.len()], train);
    let [again, made, relabelled] = &rows[train.len()..] else {
        panic!("{} rows", rows.len())
    };
    assert_eq!(again, real);
    assert!(made.synthetic && made.label == "fear");
    assert_eq!(made.image.as_ref().unwrap().data, noise(6));
    assert_eq!(
        (relabelled.label.as_str(), &relabelled.image),
        ("neutral", &made.image)
    );
    shutdown.cancel();
}

#[tokio::test]
async fn nothing_else_joins() {
    let folder = tempfile::tempdir().unwrap();
    let shutdown = CancellationToken::new();
    let mut clients = served(folder.path(), &shutdown).await;
    let val = read(&mut clients, Split::Val, "").await.unwrap().remove(0);
    let train = read(&mut clients, Split::Train, "")
        .await
        .unwrap()
        .remove(0);
    let golden: Vec<_> = clients
        .golden
        .read_golden(crate::grpc::golden_request())
        .await
        .unwrap()
        .into_inner()
        .try_collect()
        .await
        .unwrap();
    let golden = golden[0].row.clone().unwrap();
    for (split, image, label, code, word) in [
        (
            Split::Train,
            &val,
            "fear",
            Code::InvalidArgument,
            "extra.image_id",
        ),
        (
            Split::Train,
            &golden,
            "fear",
            Code::PermissionDenied,
            "golden",
        ),
        (
            Split::Train,
            &train,
            "joy",
            Code::InvalidArgument,
            "extra.label",
        ),
        (
            Split::Val,
            &train,
            "fear",
            Code::InvalidArgument,
            "SPLIT_TRAIN",
        ),
    ] {
        let refused = with_extra(&mut clients, split, &[(&image.image_id, label)]).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(
            refused
                .message()
                .to_lowercase()
                .contains(&word.to_lowercase()),
            "{refused}"
        );
    }
    let unknown = with_extra(&mut clients, Split::Train, &[("nobody", "fear")]).await;
    assert_eq!(unknown.unwrap_err().code(), Code::InvalidArgument);
    shutdown.cancel();
}
