//! The services over loopback: one run from import to export, and the seal on golden.

use std::collections::BTreeSet;

use futures::TryStreamExt as _;
use label_store::start;
use saga_chassis::status::reason;
use saga_proto::{
    generator::v1::{Candidate, Provenance, Truth},
    labelstore::v1::{
        self, Split, dataset_service_client::DatasetServiceClient,
        golden_service_client::GoldenServiceClient, import_dataset_response::Event,
        run_service_client::RunServiceClient,
    },
    r#type::v1::Image,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, transport::Channel};

use crate::common::{affectnet, config, noise};

const COUNTS: &[(&str, u32)] = &[("neutral", 40), ("fear", 10)];

pub(crate) struct Clients {
    pub(crate) datasets: DatasetServiceClient<Channel>,
    pub(crate) golden: GoldenServiceClient<Channel>,
    pub(crate) runs: RunServiceClient<Channel>,
}

/// A server over a data set that is imported and split.
pub(crate) async fn served(folder: &std::path::Path, shutdown: &CancellationToken) -> Clients {
    affectnet(&folder.join("faces"), COUNTS);
    let running = start(config(folder), shutdown.clone()).await.unwrap();
    let channel = Channel::from_shared(format!("http://{}", running.addr))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut datasets = DatasetServiceClient::new(channel.clone());
    let import = v1::ImportDatasetRequest {
        dataset_id: "faces".into(),
        path: folder.join("faces").display().to_string(),
        classes: COUNTS
            .iter()
            .map(|(label, _)| (*label).to_owned())
            .collect(),
    };
    let events: Vec<_> = datasets
        .import_dataset(import)
        .await
        .unwrap()
        .into_inner()
        .try_collect()
        .await
        .unwrap();
    let last = events.last().and_then(|e| e.event.clone());
    assert!(matches!(last, Some(Event::Report(report)) if report.imported == 50));
    let policy = v1::SplitPolicy {
        golden_per_class: 4,
        golden_fraction: 0.3,
        val_fraction: 0.2,
        calibration_fraction: 0.1,
        seed: 11,
    };
    let split = v1::SplitDatasetRequest {
        dataset_id: "faces".into(),
        policy: Some(policy),
    };
    datasets.split_dataset(split).await.unwrap();
    Clients {
        datasets,
        golden: GoldenServiceClient::new(channel.clone()),
        runs: RunServiceClient::new(channel),
    }
}

pub(crate) async fn read(
    clients: &mut Clients,
    split: Split,
    run: &str,
) -> Result<Vec<v1::Row>, tonic::Status> {
    let request = v1::ReadSplitRequest {
        dataset_id: "faces".into(),
        split: split.into(),
        synthetic_run_id: run.into(),
        ..v1::ReadSplitRequest::default()
    };
    read_split(clients, request).await
}

pub(crate) async fn read_split(
    clients: &mut Clients,
    request: v1::ReadSplitRequest,
) -> Result<Vec<v1::Row>, tonic::Status> {
    let answers: Vec<_> = clients
        .datasets
        .read_split(request)
        .await?
        .into_inner()
        .try_collect()
        .await?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| answer.row)
        .collect())
}

pub(crate) fn golden_request() -> v1::ReadGoldenRequest {
    v1::ReadGoldenRequest {
        dataset_id: "faces".into(),
        reader: "test".into(),
        purpose: "final judgement".into(),
        run_id: "run".into(),
    }
}

#[tokio::test]
async fn golden_images_leave_by_one_door_and_every_read_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let shutdown = CancellationToken::new();
    let mut clients = served(folder.path(), &shutdown).await;
    let sealed = read(&mut clients, Split::Golden, "").await.unwrap_err();
    assert_eq!(
        (sealed.code(), reason(&sealed).as_deref()),
        (Code::PermissionDenied, Some("GOLDEN_SEALED"))
    );

    let nobody = v1::ReadGoldenRequest {
        reader: String::new(),
        ..golden_request()
    };
    assert_eq!(
        clients.golden.read_golden(nobody).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let answers: Vec<_> = clients
        .golden
        .read_golden(golden_request())
        .await
        .unwrap()
        .into_inner()
        .try_collect()
        .await
        .unwrap();
    let golden: BTreeSet<String> = answers
        .into_iter()
        .filter_map(|a| a.row)
        .map(|row| row.image_id)
        .collect();
    assert_eq!(golden.len(), 7);
    let reads = v1::ListGoldenReadsRequest {
        dataset_id: "faces".into(),
    };
    let reads = clients
        .golden
        .list_golden_reads(reads)
        .await
        .unwrap()
        .into_inner()
        .reads;
    assert_eq!(reads.len(), 1);
    assert_eq!(
        (reads[0].reader.as_str(), reads[0].run_id.as_str()),
        ("test", "run")
    );
    assert!(reads[0].time.is_some_and(|time| time.seconds > 0));

    for image_id in golden.clone() {
        let refused = clients
            .datasets
            .get_image(v1::GetImageRequest { image_id })
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    for split in [Split::Train, Split::Val, Split::Calibration] {
        let rows = read(&mut clients, split, "").await.unwrap();
        assert!(!rows.is_empty() && rows.iter().all(|row| !golden.contains(&row.image_id)));
    }
    let source = v1::SlotPlan {
        target_label: "fear".into(),
        ordinal: 0,
        source_image_ids: golden.into_iter().take(1).collect(),
        tries_per_source: 1,
    };
    create_run(&mut clients).await;
    let slots = v1::AddSlotsRequest {
        run_id: "run".into(),
        slots: vec![source],
    };
    assert_eq!(
        clients.runs.add_slots(slots).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    shutdown.cancel();
}

pub(crate) async fn create_run(clients: &mut Clients) {
    let run = v1::Run {
        run_id: "run".into(),
        dataset_id: "faces".into(),
        recipe_toml: String::new(),
        seed: u64::MAX,
        generator: "noise".into(),
        max_synthetic_fraction: 0.6,
        max_phash_distance: Some(4),
        prompt_version: "5e1f".into(),
        max_clip_cosine: Some(0.97),
        class_size: Some(30),
    };
    let request = v1::CreateRunRequest {
        run: Some(run.clone()),
    };
    assert!(
        clients
            .runs
            .create_run(request.clone())
            .await
            .unwrap()
            .into_inner()
            .created
    );
    assert!(
        !clients
            .runs
            .create_run(request)
            .await
            .unwrap()
            .into_inner()
            .created
    );
    let other = v1::CreateRunRequest {
        run: Some(v1::Run {
            seed: 1,
            ..run.clone()
        }),
    };
    assert_eq!(
        clients.runs.create_run(other).await.unwrap_err().code(),
        Code::AlreadyExists
    );
    let there = clients
        .runs
        .get_run(v1::GetRunRequest {
            run_id: "run".into(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(there.run, Some(run));
}

/// Leases one slot and settles it as accepted.
async fn settle_one(clients: &mut Clients) -> v1::Slot {
    let ttl = Some(prost_types::Duration {
        seconds: 60,
        nanos: 0,
    });
    let lease = v1::LeaseSlotsRequest {
        run_id: "run".into(),
        holder: "test".into(),
        limit: 1,
        ttl,
        ..v1::LeaseSlotsRequest::default()
    };
    let slot = clients
        .runs
        .lease_slots(lease)
        .await
        .unwrap()
        .into_inner()
        .slots
        .remove(0);
    let request = v1::SettleCandidateRequest {
        run_id: "run".into(),
        slot_id: slot.slot_id.clone(),
        attempt: slot.attempt,
        candidate_id: "c0".into(),
        candidate: Some(Candidate {
            image: Some(Image {
                data: noise(5).into(),
                blake3: String::new(),
            }),
            provenance: Some(Provenance {
                prompt: "a face".into(),
                cost_usd: 0.25,
                seed: 3,
                ..Provenance::default()
            }),
            truth: Some(Truth { fault: 1 }),
            ..Candidate::default()
        }),
        accepted: true,
        source_image_id: slot.sources[0].image_id.clone(),
        prompt_text: "a {age} face".into(),
        backend: "noise".into(),
        ..v1::SettleCandidateRequest::default()
    };
    let settled = clients
        .runs
        .settle_candidate(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(settled.settlement(), v1::Settlement::Admitted);
    slot
}

#[tokio::test]
async fn a_run_goes_from_slots_to_training_data_and_export() {
    let folder = tempfile::tempdir().unwrap();
    let shutdown = CancellationToken::new();
    let mut clients = served(folder.path(), &shutdown).await;
    create_run(&mut clients).await;
    let train = read(&mut clients, Split::Train, "").await.unwrap();
    let plan = v1::SlotPlan {
        target_label: "fear".into(),
        ordinal: 0,
        source_image_ids: vec![
            train
                .iter()
                .find(|row| row.label == "neutral")
                .unwrap()
                .image_id
                .clone(),
        ],
        tries_per_source: 1,
    };
    let slots = v1::AddSlotsRequest {
        run_id: "run".into(),
        slots: vec![plan],
    };
    assert_eq!(
        clients
            .runs
            .add_slots(slots)
            .await
            .unwrap()
            .into_inner()
            .added,
        1
    );
    let slot = settle_one(&mut clients).await;

    let augmented = read(&mut clients, Split::Train, "run").await.unwrap();
    assert_eq!(augmented.len(), train.len() + 1);
    let synthetic = augmented.last().unwrap();
    assert!(synthetic.synthetic && synthetic.label == "fear" && synthetic.image_id == "c0");
    assert_eq!(synthetic.image.as_ref().unwrap().data, noise(5));
    let one = clients
        .datasets
        .get_image(v1::GetImageRequest {
            image_id: "c0".into(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(one.row.as_ref(), Some(synthetic));

    let list = v1::ListCandidatesRequest {
        run_id: "run".into(),
        limit: 0,
        include_images: true,
    };
    let all: Vec<_> = clients
        .runs
        .list_candidates(list)
        .await
        .unwrap()
        .into_inner()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(
        (all.len(), all[0].slot_id.as_str()),
        (1, slot.slot_id.as_str())
    );
    assert_eq!(
        (all[0].truth, all[0].provenance.as_ref().unwrap().seed),
        (Some(Truth { fault: 1 }), 3)
    );
    assert!(all[0].image.is_some() && all[0].source.is_some());
    let funnel = clients
        .runs
        .get_funnel(v1::GetFunnelRequest {
            run_id: "run".into(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((funnel.accepted, funnel.cost_usd), (1, 0.25));
    let arms = v1::GetArmsRequest {
        run_id: "run".into(),
        ..v1::GetArmsRequest::default()
    };
    let arm = v1::Arm {
        source_label: "neutral".into(),
        target_label: "fear".into(),
        prompt_text: "a {age} face".into(),
        backend: "noise".into(),
        attempts: 1,
        accepted: 1,
        cost_usd: 0.25,
    };
    assert_eq!(
        clients.runs.get_arms(arms).await.unwrap().into_inner().arms,
        [arm]
    );

    let out = folder.path().join("out");
    let export = v1::ExportRunRequest {
        run_id: "run".into(),
        directory: out.display().to_string(),
        face_side: None,
    };
    let progress: Vec<_> = clients
        .datasets
        .export_run(export)
        .await
        .unwrap()
        .into_inner()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(progress.last().map(|p| p.done == p.total), Some(true));
    assert!(out.join("aug_fear/c0.png").is_file());
    shutdown.cancel();
}

#[tokio::test]
async fn stages_keep_their_first_record() {
    let folder = tempfile::tempdir().unwrap();
    let shutdown = CancellationToken::new();
    let mut clients = served(folder.path(), &shutdown).await;
    create_run(&mut clients).await;
    for (name, result_json) in [
        ("baseline", "{\"a\":1}"),
        ("plan", ""),
        ("baseline", "{\"a\":2}"),
    ] {
        let stage = v1::Stage {
            name: name.into(),
            result_json: result_json.into(),
            duration: Some(prost_types::Duration {
                seconds: 1,
                nanos: 500_000_000,
            }),
        };
        let request = v1::CompleteStageRequest {
            run_id: "run".into(),
            stage: Some(stage),
        };
        clients.runs.complete_stage(request).await.unwrap();
    }
    let stages = clients
        .runs
        .get_run(v1::GetRunRequest {
            run_id: "run".into(),
        })
        .await
        .unwrap()
        .into_inner()
        .stages;
    assert_eq!(
        stages.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
        ["baseline", "plan"]
    );
    assert_eq!(stages[0].result_json, "{\"a\":1}");
    assert_eq!(stages[0].duration.unwrap().nanos, 500_000_000);
    shutdown.cancel();
}
