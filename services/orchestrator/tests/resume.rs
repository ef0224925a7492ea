//! Runs that are lost or cancelled on the way and started again.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use saga_proto::orchestrator::v1::{CancelRunRequest, StartRunRequest, WatchRunRequest};
use support::{World, finished_stages, results, start_request, watch};

#[test]
fn a_run_whose_orchestrator_is_lost_goes_on_without_losing_or_doubling_anything() {
    let services = tokio::runtime::Runtime::new().unwrap();
    let world = services.block_on(World::new());
    let first = tokio::runtime::Runtime::new().unwrap();
    // The generator makes 4 candidates, then hangs; the orchestrator is dropped with candidates in flight.
    let left = world.generator.allowance.available_permits();
    services.block_on(async { world.generator.allowance.forget_permits(left - 4) });
    first.block_on(async {
        let mut client = world.orchestrator().await;
        client.start_run(start_request()).await.unwrap();
        let mut stream = client
            .watch_run(WatchRunRequest { run_id: "r".into() })
            .await
            .unwrap()
            .into_inner();
        while world.store.admitted() < 4 {
            stream.message().await.unwrap().unwrap();
        }
    });
    first.shutdown_background();
    world.generator.allowance.add_permits(1_000);
    let second = tokio::runtime::Runtime::new().unwrap();
    let events = second.block_on(async {
        let mut client = world.orchestrator().await;
        let request = StartRunRequest {
            run_id: "r".into(),
            ..StartRunRequest::default()
        };
        assert!(
            client
                .start_run(request)
                .await
                .unwrap()
                .into_inner()
                .resumed
        );
        watch(&mut client).await
    });
    let found = results(&events);
    assert_eq!(
        (
            found.candidates.planned,
            found.candidates.accepted,
            found.candidates.open
        ),
        (10, 10, 0)
    );
    assert_eq!(world.store.admitted(), 10);
    let resumed = ["import", "split", "baseline", "clip", "plan"];
    for (stage, was_resumed) in finished_stages(&events) {
        assert_eq!(was_resumed, resumed.contains(&stage.as_str()), "{stage}");
    }
    assert_eq!(world.trainer.jobs.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_cancelled_run_lets_what_is_in_flight_settle_and_goes_on_when_started_again() {
    let world = World::new().await;
    let left = world.generator.allowance.available_permits();
    world.generator.allowance.forget_permits(left - 2);
    let mut client = world.orchestrator().await;
    client.start_run(start_request()).await.unwrap();
    let mut stream = client
        .watch_run(WatchRunRequest { run_id: "r".into() })
        .await
        .unwrap()
        .into_inner();
    while world.store.admitted() < 2 {
        stream.message().await.unwrap().unwrap();
    }
    let mut other = client.clone();
    let cancelled = tokio::spawn(async move {
        other
            .cancel_run(CancelRunRequest { run_id: "r".into() })
            .await
    });
    world.generator.allowance.add_permits(3);
    cancelled.await.unwrap().unwrap();
    assert!(
        world
            .store
            .lock()
            .slots
            .values()
            .all(|slot| slot.holder.is_none())
    );
    world.generator.allowance.add_permits(1_000);
    client
        .start_run(StartRunRequest {
            run_id: "r".into(),
            ..StartRunRequest::default()
        })
        .await
        .unwrap();
    assert_eq!(results(&watch(&mut client).await).candidates.accepted, 10);
}
