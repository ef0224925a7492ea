//! Tests of loading, swapping and unloading, with models that are strings.

use saga_chassis::{Server, ServerConfig, status::reason};
use tonic::Code;

use super::*;

/// A directory's file `weights` is both the revision and the model; one with a file `damaged` is.
pub(crate) struct Strings;

impl Loader for Strings {
    type Model = String;

    fn revision(directory: &Path) -> Result<String, LoadError> {
        std::fs::read_to_string(directory.join("weights"))
            .map_err(|error| LoadError(error.to_string()))
    }

    fn verify(directory: &Path) -> Result<(), LoadError> {
        match directory.join("damaged").exists() {
            true => Err(LoadError("a file is damaged".to_owned())),
            false => Ok(()),
        }
    }

    fn is_usable(_: &String) -> bool {
        true
    }

    async fn load(&self, directory: &Path) -> Result<(String, LoadedModel), LoadError> {
        let weights = Self::revision(directory)?;
        if weights == "broken" {
            return Err(LoadError("it is broken".to_owned()));
        }
        Ok((weights, LoadedModel::default()))
    }
}

async fn registry() -> (Registry<Strings>, Readiness, tempfile::TempDir) {
    let readiness = Server::bind("test", &ServerConfig::default())
        .await
        .unwrap()
        .readiness();
    (
        Registry::new(Strings, readiness.clone()),
        readiness,
        tempfile::tempdir().unwrap(),
    )
}

pub(crate) fn weights(directory: &Path, text: &str) {
    std::fs::write(directory.join("weights"), text).unwrap();
}

#[tokio::test]
async fn without_a_model_the_caller_is_told_how_to_load_one() {
    let (registry, readiness, directory) = registry().await;
    let status = registry.get("").unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_deref()),
        (Code::FailedPrecondition, Some("MODEL_NOT_LOADED"))
    );
    assert!(!readiness.is_ready());
    weights(directory.path(), "one");
    registry.load("a", directory.path(), false).await.unwrap();
    assert!(readiness.is_ready());
    assert_eq!(registry.get("").unwrap().model, "one");
    let status = registry.get("b").unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_deref()),
        (Code::NotFound, Some("MODEL_UNKNOWN"))
    );
}

#[tokio::test]
async fn a_swap_leaves_requests_their_model_and_a_failed_one_changes_nothing() {
    let (registry, _, directory) = registry().await;
    weights(directory.path(), "old");
    registry.load("a", directory.path(), false).await.unwrap();
    let held = registry.get("a").unwrap();
    registry.load("a", directory.path(), false).await.unwrap();
    assert!(
        Arc::ptr_eq(&held, &registry.get("a").unwrap()),
        "the same weights again are a no-op"
    );
    weights(directory.path(), "broken");
    assert_eq!(
        registry
            .load("a", directory.path(), false)
            .await
            .unwrap_err()
            .code(),
        Code::InvalidArgument
    );
    assert_eq!(registry.get("a").unwrap().model, "old");
    weights(directory.path(), "new");
    let info = registry.load("a", directory.path(), false).await.unwrap();
    assert_eq!(info.version.unwrap().revision, "new");
    assert_eq!(
        (
            held.model.as_str(),
            registry.get("a").unwrap().model.as_str()
        ),
        ("old", "new")
    );
}

#[tokio::test]
async fn a_rollback_returns_what_was_before_and_another_what_was_after() {
    let (registry, _, directory) = registry().await;
    weights(directory.path(), "old");
    registry.load("a", directory.path(), false).await.unwrap();
    let nothing = registry.rollback("a").unwrap_err();
    assert_eq!(reason(&nothing).as_deref(), Some("NO_PREVIOUS_MODEL"));
    weights(directory.path(), "new");
    let loaded = registry.load("a", directory.path(), false).await.unwrap();
    assert_eq!(loaded.previous.unwrap().revision, "old");
    for (current, previous) in [("old", "new"), ("new", "old")] {
        let info = registry.rollback("a").unwrap();
        assert!(info.is_default);
        assert_eq!(info.version.unwrap().revision, current);
        assert_eq!(info.previous.unwrap().revision, previous);
        assert_eq!(registry.get("").unwrap().model, current);
    }
    for name in ["", "b"] {
        registry.rollback(name).unwrap_err();
    }
}

#[tokio::test]
async fn the_default_is_the_first_until_another_takes_its_place() {
    let (registry, readiness, directory) = registry().await;
    weights(directory.path(), "one");
    registry.load("a", directory.path(), false).await.unwrap();
    registry.load("b", directory.path(), false).await.unwrap();
    assert_eq!(registry.get("").unwrap().version().name, "a");
    assert_eq!(
        reason(&registry.unload("a").unwrap_err()).as_deref(),
        Some("MODEL_IS_DEFAULT")
    );
    assert!(
        registry
            .load("b", directory.path(), true)
            .await
            .unwrap()
            .is_default
    );
    registry.unload("a").unwrap();
    assert!(readiness.is_ready());
    registry.unload("b").unwrap();
    assert!(!readiness.is_ready());
    assert_eq!(
        registry.unload("b").unwrap_err().code(),
        Code::FailedPrecondition
    );
}

#[tokio::test]
async fn names_and_directories_are_checked() {
    let (registry, _, directory) = registry().await;
    for name in ["", "a/b", "ä", &"x".repeat(65)] {
        let status = registry
            .load(name, directory.path(), false)
            .await
            .unwrap_err();
        assert!(status.message().starts_with("name: "), "{status}");
    }
    let status = registry
        .load("a", Path::new("/no/such"), false)
        .await
        .unwrap_err();
    assert!(
        status.message().starts_with("directory: /no/such"),
        "{status}"
    );
}
