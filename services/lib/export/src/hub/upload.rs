//! Large files: which of them the hub lacks, and sending those, whole or in parts.

use super::AT_ONCE;
use super::Options;
use super::client::Client;
use super::error::HubError;
use super::files::LocalFile;
use super::protocol::{Action, Actions, Batch, BatchAnswer, Completion, Object, Part};
use prost::bytes::Bytes;
use reqwest::Body;
use std::collections::HashMap;
use std::io::SeekFrom;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

const ASKING: &str = "asking which large files are missing";
const SENDING: &str = "sending a large file";
const VERIFYING: &str = "having a large file verified";

/// A part is held in memory.
const LARGEST_PART: u64 = 1 << 30;

/// The files that the hub lacks, each with what to do.
pub(super) async fn missing<'f>(
    client: &Client,
    options: &Options,
    files: &[&'f LocalFile],
) -> Result<Vec<(&'f LocalFile, Actions)>, HubError> {
    let address = format!(
        "{}/{}.git/info/lfs/objects/batch",
        options.endpoint.trim_end_matches('/'),
        options.repository
    );
    let mut missing = Vec::new();
    for files in files.chunks(AT_ONCE) {
        let objects = files.iter().map(|file| Object {
            oid: &file.sha256,
            size: file.size,
        });
        let body = Batch {
            operation: "upload",
            transfers: ["basic", "multipart"],
            objects: objects.collect(),
            hash_algo: "sha256",
        };
        let answer: BatchAnswer = client
            .post_lfs(ASKING, &address, &body)
            .await?
            .read(ASKING, options)?;
        let mut answers: HashMap<_, _> = answer
            .objects
            .into_iter()
            .map(|object| (object.oid.clone(), object))
            .collect();
        for &file in files {
            let Some(object) = answers.get_mut(&file.sha256) else {
                let why = format!("the answer does not tell of {}", file.path);
                return Err(HubError::Unexpected { what: ASKING, why });
            };
            if let Some(error) = &object.error {
                let message = format!("{}: {}", file.path, error.message);
                return Err(match error.code {
                    413 => HubError::TooLarge {
                        what: ASKING,
                        message,
                    },
                    status => HubError::Refused {
                        what: ASKING,
                        status,
                        message,
                    },
                });
            }
            missing.extend(object.actions.clone().map(|actions| (file, actions)));
        }
    }
    Ok(missing)
}

/// Sends one file as the hub said, and has it verified.
pub(super) async fn send(
    client: &Client,
    file: &LocalFile,
    actions: &Actions,
) -> Result<(), HubError> {
    if let Some(upload) = &actions.upload {
        match upload.header.get("chunk_size") {
            Some(size) => in_parts(client, file, upload, size).await?,
            None => whole(client, file, upload).await?,
        }
    }
    if let Some(verify) = &actions.verify {
        let object = Object {
            oid: &file.sha256,
            size: file.size,
        };
        let answer = client.post_lfs(VERIFYING, &verify.href, &object).await?;
        answer.check(VERIFYING, client.options())?;
    }
    Ok(())
}

async fn whole(client: &Client, file: &LocalFile, upload: &Action) -> Result<(), HubError> {
    let headers: Vec<(&str, &str)> = upload
        .header
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .collect();
    let body = async || {
        let opened = File::open(&file.at).await.map_err(HubError::io(&file.at))?;
        Ok((Body::from(opened), file.size))
    };
    client
        .put(SENDING, &upload.href, &headers, body)
        .await?
        .check(SENDING, client.options())
}

/// The hub's own addition to git LFS: an address for each part, and one that puts them together.
async fn in_parts(
    client: &Client,
    file: &LocalFile,
    upload: &Action,
    size: &serde_json::Value,
) -> Result<(), HubError> {
    let unexpected = |why: String| HubError::Unexpected { what: SENDING, why };
    let size = size.as_u64().or_else(|| size.as_str()?.parse().ok());
    let size = size.filter(|size| (1..=LARGEST_PART).contains(size));
    let size = size.ok_or_else(|| unexpected("parts of a size that cannot be".to_owned()))?;
    // Numbers may have leading zeros.
    let addresses = upload.header.iter();
    let addresses =
        addresses.filter_map(|(number, href)| Some((number.parse().ok()?, href.as_str()?)));
    let addresses: HashMap<u64, &str> = addresses.collect();
    let mut parts = Vec::new();
    for number in 1..=file.size.div_ceil(size) {
        let address = addresses.get(&number);
        let href = address
            .ok_or_else(|| unexpected(format!("part {number} of {} has no address", file.path)))?;
        let bytes = part(file, (number - 1) * size, size)
            .await
            .map_err(HubError::io(&file.at))?;
        let body = async || Ok((Body::from(bytes.clone()), bytes.len() as u64));
        let answer = client.put(SENDING, href, &[], body).await?;
        answer.check(SENDING, client.options())?;
        let etag = answer
            .etag
            .ok_or_else(|| unexpected(format!("part {number} of {} got no etag", file.path)))?;
        parts.push(Part {
            part_number: parts.len() + 1,
            etag,
        });
    }
    let completion = Completion {
        oid: &file.sha256,
        parts,
    };
    client
        .post_lfs(SENDING, &upload.href, &completion)
        .await?
        .check(SENDING, client.options())
}

async fn part(file: &LocalFile, start: u64, size: u64) -> std::io::Result<Bytes> {
    let mut opened = File::open(&file.at).await?;
    opened.seek(SeekFrom::Start(start)).await?;
    let mut bytes = Vec::new();
    opened.take(size).read_to_end(&mut bytes).await?;
    Ok(bytes.into())
}
