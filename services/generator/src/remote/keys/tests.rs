//! Keys that rest, are set aside, change and break.

use super::*;

fn ring(folder: &tempfile::TempDir, text: &str) -> KeyRing {
    let path = folder.path().join("keys.toml");
    fs::write(&path, text).unwrap();
    let limits = KeyLimits {
        requests_per_minute: Some(10),
        requests_per_day: None,
    };
    KeyRing::new(Source::File(path), limits)
}

fn names(ring: &KeyRing) -> Vec<String> {
    match ring.usable().unwrap() {
        Usable::Keys(keys) => keys.into_iter().map(|key| key.name).collect(),
        Usable::Resting(_) => Vec::new(),
    }
}

/// Writes the file anew, at a time that can be told from the last.
fn change(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(5))
        .unwrap();
}

const TWO: &str = "[[keys]]\nname = \"a\"\nkey = \"s3cret\"\n[[keys]]\nname = \"b\"\nkey = \"other\"\nrequests_per_day = 5\n";

#[tokio::test(start_paused = true)]
async fn keys_rest_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let ring = ring(&folder, TWO);
    assert_eq!(names(&ring), ["a", "b"]);
    ring.rest("a", Some(Duration::from_secs(50)));
    ring.rest("a", None);
    assert_eq!(names(&ring), ["b"]);
    ring.rest("b", None);
    let Usable::Resting(left) = ring.usable().unwrap() else {
        panic!()
    };
    assert_eq!(left, REST);
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(names(&ring), ["b"]);
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(names(&ring), ["a", "b"]);
}

#[test]
fn limits_are_the_keys_own_or_the_backends() {
    let folder = tempfile::tempdir().unwrap();
    let Usable::Keys(keys) = ring(&folder, TWO).usable().unwrap() else {
        panic!()
    };
    let limits = |key: &ledger::Key| -> Vec<(u32, i64)> {
        let seconds = |limit: &ledger::Limit| limit.period.unwrap().seconds;
        key.limits
            .iter()
            .map(|limit| (limit.requests, seconds(limit)))
            .collect()
    };
    assert_eq!(limits(&keys[0]), [(10, 61)]);
    assert_eq!(limits(&keys[1]), [(10, 61), (5, 86_401)]);
}

#[test]
fn a_bad_key_is_set_aside_until_it_changes_and_is_named_but_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let ring = ring(&folder, "[[keys]]\nname = \"a\"\nkey = \"s3cret\"\n");
    assert_eq!(names(&ring), ["a"]);
    let secret = ring.secret("a").unwrap();
    ring.set_aside("a", &secret, "HTTP 400: not valid");
    let error = ring.usable().unwrap_err().to_string();
    assert!(error.contains("'a' (HTTP 400: not valid)"), "{error}");
    assert!(!format!("{error} {ring:?}").contains("s3cret"));
    let path = folder.path().join("keys.toml");
    change(&path, "[[keys]]\nname = \"a\"\nkey = \"good\"\n");
    assert_eq!(names(&ring), ["a"]);
}

#[test]
fn a_file_that_breaks_leaves_the_keys_there_were_and_errors_show_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    let broken = "[[keys]]\nname = \"a\"\nkey = s3cret\n";
    let error = ring(&folder, broken).usable().unwrap_err().to_string();
    assert!(
        error.contains("line 3") && !error.contains("s3cret"),
        "{error}"
    );
    let ring = ring(&folder, TWO);
    assert_eq!(names(&ring).len(), 2);
    change(&path, broken);
    assert_eq!(names(&ring).len(), 2);
    fs::remove_file(&path).unwrap();
    assert_eq!(names(&ring).len(), 2);
}
