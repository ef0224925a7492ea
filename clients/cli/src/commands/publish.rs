//! `saga publish`: a folder to a repository of the Hugging Face hub.

use std::time::Duration;

use anyhow::Result;
use saga_export::hub::{Options, Token, publish as push};
use serde_json::json;

use crate::{
    args::{Global, PublishArgs},
    output,
};

/// Before a request that broke off is sent again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Sends what the hub lacks, and commits.
pub async fn publish(global: &Global, args: PublishArgs) -> Result<()> {
    let options = Options {
        endpoint: args.endpoint,
        repository: args.repository,
        private: args.private,
        token: Token::find(args.token_file.as_deref())?,
        retry_after: RETRY_AFTER,
    };
    let quiet = global.json;
    let published = push(&args.directory, &options, |name, size| {
        if !quiet {
            println!("sending {name} ({:.1} MB)", size as f64 / 1e6);
        }
    });
    let published = published.await?;
    if global.json {
        return output::print_json(&json!({
            "commit": published.commit,
            "sent": published.sent,
            "present": published.present,
            "small": published.small,
        }));
    }
    match published.commit {
        Some(commit) => println!(
            "{commit}: {} large files sent, {} there already, {} small ones",
            published.sent.len(),
            published.present.len(),
            published.small.len()
        ),
        None => println!("{} has all of it already", options.repository),
    }
    Ok(())
}
