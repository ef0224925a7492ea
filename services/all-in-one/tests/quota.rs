//! A run with Gemini, whose quota is used up, and the exemplar backend, which needs none.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::time::Duration;

use all_in_one::{AllInOne, Options};
use fake_api::{FakeApi, Fault, Settings};

#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_quota_does_not_keep_the_other_backend_waiting() {
    let api = FakeApi::start(Settings::default()).await;
    // As many as may be asked before the first answer.
    for _ in 0..4 {
        api.push(Fault::Quota(Duration::from_secs(24 * 3_600)));
    }
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.toml");
    fs::write(&keys, "[[keys]]\nname = \"a\"\nkey = \"secret-a\"\n").unwrap();
    let config = format!(
        r#"
        [gemini]
        endpoint = "{}"
        keys_file = "{}"
        [gemini.prices."gemini-2.5-flash-image"]
        image_usd = 0.0
        "#,
        api.gemini_endpoint(),
        keys.display()
    );
    fs::write(folder.path().join("generator.toml"), config).unwrap();
    let options = Options {
        config_dir: Some(folder.path().to_owned()),
        ..common::options(folder.path())
    };
    let services = AllInOne::start(options).await.unwrap();
    let dataset = folder.path().join("data");
    common::render(&services, &dataset).await;
    let backends = "backends = [{ name = \"gemini\" }, { name = \"exemplar\" }]";
    let recipe = common::RECIPE
        .replace("backend = \"studio\"", backends)
        .replace("allocation = \"confusion\"", "allocation = \"bandit\"");
    let results = common::run(&services, "quota", &recipe, &dataset).await;
    assert_eq!(results["generator"], "gemini, exemplar");
    assert_eq!(results["candidates"]["errors"], 0, "{results}");
    assert_eq!(results["candidates"]["open"], 0, "{results}");
    assert!(results["candidates"]["accepted"].as_u64().unwrap() > 0);
    let arms = results["arms"].as_array().unwrap();
    assert!(
        arms.iter().all(|arm| arm["backend"] == "exemplar"),
        "{results}"
    );
    // The key rests since its first answer.
    let asked = api.asked().len();
    assert!((1..=4).contains(&asked), "{asked}");
    services.stop().await.unwrap();
}
