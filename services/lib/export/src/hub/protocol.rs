//! The hub's messages, as `huggingface_hub` writes and reads them, and those of git LFS's batch API
//! (<https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md>).

use serde::{Deserialize, Serialize};
use std::collections::HashMap;

#[derive(Serialize)]
pub(super) struct CreateRepository<'a> {
    pub(super) name: &'a str,
    pub(super) organization: &'a str,
    pub(super) private: bool,
    pub(super) r#type: &'static str,
}

/// Both the question and the answer.
#[derive(Serialize, Deserialize)]
pub(super) struct Preupload<File> {
    pub(super) files: Vec<File>,
}

#[derive(Serialize)]
pub(super) struct PreuploadFile<'a> {
    pub(super) path: &'a str,
    /// Its beginning, base64.
    pub(super) sample: String,
    pub(super) size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PreuploadAnswer {
    pub(super) path: String,
    /// "lfs" or "regular".
    pub(super) upload_mode: String,
    #[serde(default)]
    pub(super) should_ignore: bool,
    /// Of what the repository has under that path: of a large file its SHA-256.
    #[serde(default)]
    pub(super) oid: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Batch<'a> {
    pub(super) operation: &'static str,
    pub(super) transfers: [&'static str; 2],
    pub(super) objects: Vec<Object<'a>>,
    pub(super) hash_algo: &'static str,
}

/// A large file by its content; also what `verify` is asked about.
#[derive(Serialize)]
pub(super) struct Object<'a> {
    pub(super) oid: &'a str,
    pub(super) size: u64,
}

#[derive(Deserialize)]
pub(super) struct BatchAnswer {
    pub(super) objects: Vec<ObjectAnswer>,
}

#[derive(Deserialize)]
pub(super) struct ObjectAnswer {
    pub(super) oid: String,
    /// Absent where the object is there already.
    #[serde(default)]
    pub(super) actions: Option<Actions>,
    #[serde(default)]
    pub(super) error: Option<ObjectError>,
}

#[derive(Clone, Deserialize)]
pub(super) struct Actions {
    #[serde(default)]
    pub(super) upload: Option<Action>,
    #[serde(default)]
    pub(super) verify: Option<Action>,
}

#[derive(Clone, Deserialize)]
pub(super) struct Action {
    pub(super) href: String,
    /// Headers to send along; for an upload in parts `chunk_size` and an address for each number from 1.
    #[serde(default)]
    pub(super) header: HashMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
pub(super) struct ObjectError {
    pub(super) code: u16,
    #[serde(default)]
    pub(super) message: String,
}

/// Ends an upload in parts.
#[derive(Serialize)]
pub(super) struct Completion<'a> {
    pub(super) oid: &'a str,
    pub(super) parts: Vec<Part>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part {
    pub(super) part_number: usize,
    pub(super) etag: String,
}

/// A line of a commit.
#[derive(Serialize)]
#[serde(tag = "key", content = "value", rename_all = "camelCase")]
pub(super) enum CommitLine<'a> {
    Header {
        summary: &'static str,
        description: &'static str,
    },
    File {
        content: String,
        path: &'a str,
        encoding: &'static str,
    },
    LfsFile {
        path: &'a str,
        algo: &'static str,
        oid: &'a str,
        size: u64,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Commit {
    pub(super) commit_url: String,
}
