//! A follower over loopback, of a registry that tells what it is told to.

use std::sync::{Mutex, PoisonError};

use saga_chassis::{Running, Server, ServerConfig, status::reason};
use saga_proto::labelstore::v1::{
    GetServingResponse, ListModelsRequest, ListModelsResponse, PromoteModelRequest,
    PromoteModelResponse, RegisterModelRequest, RegisterModelResponse, RegisteredModel,
    registry_service_server::{RegistryService, RegistryServiceServer},
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response};

use super::*;
use crate::registry::tests::{Strings, weights};

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Option<RegisteredModel>>>);

impl Told {
    fn tell(&self, version: u64, staged: i64, directory: &Path, revision: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(RegisteredModel {
            version,
            directory: directory.display().to_string(),
            revision: revision.to_owned(),
            staged: Some(Timestamp {
                seconds: staged,
                nanos: 0,
            }),
            ..RegisteredModel::default()
        });
    }
}

#[tonic::async_trait]
impl RegistryService for Told {
    async fn register_model(
        &self,
        _: Request<RegisterModelRequest>,
    ) -> Result<Response<RegisterModelResponse>, Status> {
        Err(Status::unimplemented("a follower only asks what serves"))
    }

    async fn list_models(
        &self,
        _: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        Err(Status::unimplemented("a follower only asks what serves"))
    }

    async fn promote_model(
        &self,
        _: Request<PromoteModelRequest>,
    ) -> Result<Response<PromoteModelResponse>, Status> {
        Err(Status::unimplemented("a follower only asks what serves"))
    }

    async fn get_serving(
        &self,
        request: Request<GetServingRequest>,
    ) -> Result<Response<GetServingResponse>, Status> {
        assert_eq!(request.into_inner().name, "emotion");
        let model = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Ok(Response::new(GetServingResponse { model }))
    }
}

struct World {
    told: Told,
    follower: Follower,
    models: Registry<Strings>,
    folder: TempDir,
    _store: Running,
}

impl World {
    async fn new() -> Self {
        let told = Told::default();
        let server = Server::bind("store", &ServerConfig::default())
            .await
            .unwrap();
        let models = Registry::new(Strings, server.readiness());
        let store = server
            .add_service(RegistryServiceServer::new(told.clone()))
            .start(CancellationToken::new())
            .unwrap();
        let transport = saga_client::connect(&store.addr.to_string()).await.unwrap();
        Self {
            told,
            follower: Follower::new(RegistryServiceClient::new(transport), "emotion"),
            models,
            folder: tempfile::tempdir().unwrap(),
            _store: store,
        }
    }

    /// A directory with these weights.
    fn directory(&self, text: &str) -> std::path::PathBuf {
        let directory = self.folder.path().join(text);
        std::fs::create_dir_all(&directory).unwrap();
        weights(&directory, text);
        directory
    }

    async fn step(&mut self) -> Result<(), Status> {
        self.follower.step(&self.models).await
    }

    fn serves(&self) -> String {
        self.models.get("").unwrap().model.clone()
    }
}

#[tokio::test]
async fn what_is_promoted_serves_and_an_older_version_comes_back_without_its_files() {
    let mut world = World::new().await;
    world.step().await.unwrap();
    assert!(world.models.get("").is_err(), "nothing serves yet");
    let [one, two] = ["one", "two"].map(|text| world.directory(text));
    for (version, directory, text) in [(1, &one, "one"), (2, &two, "two")] {
        world.told.tell(version, version as i64, directory, text);
        world.step().await.unwrap();
        assert_eq!(world.serves(), text);
    }
    assert_eq!(world.models.names(), ["emotion"]);
    // The weights are still in memory.
    std::fs::remove_dir_all(&one).unwrap();
    world.told.tell(1, 3, &one, "one");
    world.step().await.unwrap();
    assert_eq!(world.serves(), "one");
}

#[tokio::test]
async fn damaged_files_are_refused_and_the_old_version_serves_on_until_they_are_mended() {
    let mut world = World::new().await;
    let [one, two] = ["one", "two"].map(|text| world.directory(text));
    world.told.tell(1, 1, &one, "one");
    world.step().await.unwrap();
    weights(&two, "two, damaged");
    world.told.tell(2, 2, &two, "two");
    let refused = world.step().await.unwrap_err();
    assert_eq!(reason(&refused).as_deref(), Some("MODEL_DAMAGED"));
    assert!(refused.message().contains("two, damaged"), "{refused}");
    assert_eq!(world.serves(), "one");
    world.step().await.unwrap();
    assert_eq!(world.serves(), "one", "not tried again at once");
    weights(&two, "two");
    world.told.tell(2, 3, &two, "two");
    world.step().await.unwrap();
    assert_eq!(world.serves(), "two");
}

#[tokio::test]
async fn a_directory_with_a_damaged_file_is_refused_until_it_is_whole() {
    let mut world = World::new().await;
    let [one, two] = ["one", "two"].map(|text| world.directory(text));
    world.told.tell(1, 1, &one, "one");
    world.step().await.unwrap();
    std::fs::write(two.join("damaged"), "").unwrap();
    world.told.tell(2, 2, &two, "two");
    let refused = world.step().await.unwrap_err();
    assert_eq!(reason(&refused).as_deref(), Some("MODEL_DAMAGED"));
    assert!(refused.message().contains("a file is damaged"), "{refused}");
    assert_eq!(world.serves(), "one");
    std::fs::remove_file(two.join("damaged")).unwrap();
    world.told.tell(2, 3, &two, "two");
    world.step().await.unwrap();
    assert_eq!(world.serves(), "two");
}

#[tokio::test]
async fn a_version_that_fails_its_check_leaves_the_old_one_in_service() {
    let mut world = World::new().await;
    let [one, broken] = ["one", "broken"].map(|text| world.directory(text));
    world.told.tell(1, 1, &one, "one");
    world.step().await.unwrap();
    world.told.tell(2, 2, &broken, "broken");
    let refused = world.step().await.unwrap_err();
    assert!(refused.message().contains("it is broken"), "{refused}");
    assert_eq!(world.serves(), "one");
}
