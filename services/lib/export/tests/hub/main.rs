//! Publishing against a local server that speaks the hub's protocol: what arrives, what is sent twice, and every fault.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod server;

use saga_export::hub::{HubError, Options, Published, Token, publish};
use server::{Fault, Hub, TOKEN};
use std::path::Path;
use std::time::Duration;

const WEIGHTS: [u8; 5000] = [7; 5000];

/// A folder as an export leaves it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write =
        |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).unwrap();
    write("config.json", b"{}");
    write("README.md", b"# A model");
    write("empty", b"");
    write("left.tmp", b"ignored by the hub");
    write("model.safetensors", &WEIGHTS);
    write("tokenizer.json", &[8; 1500]);
    folder
}

fn options(hub: &Hub, token: &str) -> Options {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), token).unwrap();
    Options {
        endpoint: hub.endpoint.clone(),
        repository: "lab/vit".to_owned(),
        private: true,
        token: Token::find(Some(file.path())).unwrap(),
        retry_after: Duration::ZERO,
    }
}

async fn pushed(hub: &Hub, folder: &Path) -> Result<Published, HubError> {
    publish(folder, &options(hub, TOKEN), |_, _| {}).await
}

#[tokio::test]
async fn everything_arrives_once_and_the_token_goes_to_the_hub_alone() {
    let (hub, folder) = (Hub::start().await, folder());
    let mut heard = Vec::new();
    let options = options(&hub, TOKEN);
    let published = publish(folder.path(), &options, |name, size| {
        heard.push((name.to_owned(), size))
    });
    let published = published.await.unwrap();
    assert_eq!(
        published.commit,
        Some(format!("{}/lab/vit/commit/1", hub.endpoint))
    );
    assert_eq!(published.sent, ["model.safetensors", "tokenizer.json"]);
    assert_eq!(published.small, ["README.md", "config.json", "empty"]);
    assert_eq!(
        heard,
        [
            ("model.safetensors".to_owned(), 5000),
            ("tokenizer.json".to_owned(), 1500)
        ]
    );
    {
        let kept = hub.kept.lock().unwrap();
        assert_eq!(kept.private, Some(true));
        assert_eq!(
            kept.files.keys().collect::<Vec<_>>(),
            ["README.md", "config.json", "empty"]
        );
        assert_eq!(kept.files["README.md"], b"# A model");
        assert_eq!(kept.objects[&kept.large["model.safetensors"]], WEIGHTS);
        assert_eq!(kept.verified.len(), 2);
        for (step, with_token) in &kept.asked {
            assert_eq!(*with_token, *step != "put", "{step}");
        }
    }
    // The second time the repository is there (409), and so are the large files.
    let again = pushed(&hub, folder.path()).await.unwrap();
    assert_eq!((again.sent.len(), again.present.len()), (0, 2));
    assert_eq!(hub.count("put"), 2);
}

/// The server is no invention of ours: what publishes here publishes there too.
#[tokio::test(flavor = "multi_thread")]
async fn the_hubs_own_client_publishes_the_same() {
    let Some(python) = std::env::var_os("SAGA_REFERENCES") else {
        eprintln!(
            "skipped: SAGA_REFERENCES names no Python with huggingface_hub; `make parity` makes one"
        );
        return;
    };
    let folder = folder();
    // Its client has the hub check the card; that is no part of publishing.
    std::fs::remove_file(folder.path().join("README.md")).unwrap();
    let (ours, theirs) = (Hub::start().await, Hub::start().await);
    pushed(&ours, folder.path()).await.unwrap();
    let script = "import sys, huggingface_hub as h\n\
                  api = h.HfApi(endpoint=sys.argv[1], token=sys.argv[2])\n\
                  api.create_repo('lab/vit', private=True, exist_ok=True)\n\
                  api.upload_folder(repo_id='lab/vit', folder_path=sys.argv[3])";
    let mut client = std::process::Command::new(python);
    client
        .env("HF_HUB_DISABLE_XET", "1")
        .env("HF_ENDPOINT", &theirs.endpoint)
        .args(["-c", script]);
    client.args([&theirs.endpoint, TOKEN]).arg(folder.path());
    let output = tokio::task::spawn_blocking(move || client.output())
        .await
        .unwrap()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (ours, theirs) = (ours.kept.lock().unwrap(), theirs.kept.lock().unwrap());
    assert_eq!(
        (&ours.files, &ours.large, &ours.objects),
        (&theirs.files, &theirs.large, &theirs.objects)
    );
    assert_eq!(
        (ours.private, ours.verified.len()),
        (theirs.private, theirs.verified.len())
    );
}

#[tokio::test]
async fn a_folder_that_is_there_already_makes_no_commit() {
    let (hub, folder) = (Hub::start().await, tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("model.safetensors"), WEIGHTS).unwrap();
    assert!(pushed(&hub, folder.path()).await.unwrap().commit.is_some());
    assert_eq!(pushed(&hub, folder.path()).await.unwrap().commit, None);
    assert_eq!(hub.count("commit"), 1);
}

#[tokio::test]
async fn large_files_are_sent_in_parts_where_the_hub_says_so() {
    let (hub, folder) = (Hub::start().await, folder());
    hub.kept.lock().unwrap().parts = Some(999);
    hub.fail("put", Fault::Break);
    pushed(&hub, folder.path()).await.unwrap();
    // Six parts and two, and one that broke.
    assert_eq!((hub.count("put"), hub.count("complete")), (9, 2));
    let kept = hub.kept.lock().unwrap();
    assert_eq!(kept.objects[&kept.large["model.safetensors"]], WEIGHTS);
}

#[tokio::test]
async fn broken_connections_are_mended_at_every_step() {
    let (hub, folder) = (Hub::start().await, folder());
    for step in ["create", "preupload", "batch", "put", "verify", "commit"] {
        hub.fail(step, Fault::Break);
        hub.fail(step, Fault::Status(503));
    }
    let published = pushed(&hub, folder.path()).await.unwrap();
    assert_eq!(published.sent.len(), 2);
    assert_eq!(hub.kept.lock().unwrap().commits, 1);
}

#[tokio::test]
async fn what_breaks_off_goes_on_where_it_was() {
    let (hub, folder) = (Hub::start().await, folder());
    for _ in 0..4 {
        hub.fail("commit", Fault::Break);
    }
    let error = pushed(&hub, folder.path()).await.unwrap_err();
    assert!(
        matches!(error, HubError::BrokenOff { attempts: 4, .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("run the same command again"),
        "{error}"
    );
    assert_eq!(hub.kept.lock().unwrap().commits, 0);
    let sent = hub.count("put");
    pushed(&hub, folder.path()).await.unwrap();
    assert_eq!(hub.count("put"), sent);
    assert_eq!(hub.kept.lock().unwrap().commits, 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_broken_connection() {
    let (hub, folder) = (Hub::start().await, folder());
    let options = options(&hub, TOKEN);
    drop(hub);
    let error = publish(folder.path(), &options, |_, _| {})
        .await
        .unwrap_err();
    assert!(matches!(error, HubError::BrokenOff { .. }), "{error}");
}

#[tokio::test]
async fn refusals_say_what_to_do_and_never_the_token() {
    let folder = folder();
    let bad = {
        let hub = Hub::start().await;
        publish(folder.path(), &options(&hub, "hf_wrong"), |_, _| {})
            .await
            .unwrap_err()
    };
    assert!(
        matches!(&bad, HubError::Unauthorized { message, .. } if message == "Invalid credentials"),
        "{bad}"
    );
    assert!(bad.to_string().contains("/settings/tokens"), "{bad}");
    assert!(!format!("{bad} {bad:?}").contains("hf_wrong"));
    for (step, status, words) in [
        ("preupload", 401, "does not take the token"),
        ("preupload", 403, "with the right to write"),
        ("put", 413, "too large"),
        ("commit", 413, "too large"),
        ("commit", 409, "run the same command again"),
        ("commit", 412, "run the same command again"),
        ("batch", 422, "answers 422"),
        ("verify", 404, "answers 404"),
    ] {
        let hub = Hub::start().await;
        hub.fail(step, Fault::Status(status));
        let message = pushed(&hub, folder.path()).await.unwrap_err().to_string();
        assert!(
            message.contains(words) && message.contains("as the test says"),
            "{step} {status}: {message}"
        );
        assert!(!message.contains(TOKEN), "{message}");
        assert_eq!(hub.kept.lock().unwrap().commits, 0, "{step} {status}");
    }
}

#[tokio::test]
async fn whoever_may_not_make_a_repository_may_write_into_one() {
    let (hub, folder) = (Hub::start().await, folder());
    hub.fail("create", Fault::Status(403));
    let error = pushed(&hub, folder.path()).await.unwrap_err();
    assert!(matches!(error, HubError::Forbidden { .. }), "{error}");
    hub.kept
        .lock()
        .unwrap()
        .repositories
        .insert("lab/vit".to_owned());
    hub.fail("create", Fault::Status(403));
    assert!(pushed(&hub, folder.path()).await.is_ok());
}

#[tokio::test]
async fn what_cannot_be_published_is_refused_before_anything_is_sent() {
    let (hub, folder) = (Hub::start().await, folder());
    let with = |change: fn(&mut Options)| {
        let mut options = options(&hub, TOKEN);
        change(&mut options);
        options
    };
    for (options, words) in [
        (
            with(|options| options.endpoint = "huggingface.co".to_owned()),
            "endpoint",
        ),
        (
            with(|options| options.endpoint = "http://hub.example".to_owned()),
            "https://",
        ),
        (
            with(|options| options.repository = "vit".to_owned()),
            "OWNER/NAME",
        ),
    ] {
        let message = publish(folder.path(), &options, |_, _| {})
            .await
            .unwrap_err()
            .to_string();
        assert!(message.contains(words), "{message}");
    }
    let empty = tempfile::tempdir().unwrap();
    let error = pushed(&hub, empty.path()).await.unwrap_err();
    assert!(matches!(error, HubError::Empty { .. }), "{error}");
    assert_eq!(hub.kept.lock().unwrap().asked.len(), 0);
}
