//! The Gemini backend against a local server with quotas and faults: is a quota ever exceeded, is a candidate lost or made
//! twice, and how much of the quotas is used.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use all_in_one::AllInOne;
use anyhow::Result;
use clap::Args;
use fake_api::{Asked, FakeApi, Fault, Settings};
use futures::StreamExt as _;
use saga_proto::generator::v1::{
    CandidateSpec, GenerateStreamRequest, Outcome, generate_stream_response,
    generator_service_client::GeneratorServiceClient,
};

#[derive(Args)]
pub struct Options {
    #[arg(long, default_value_t = 10_000)]
    candidates: usize,
    #[arg(long, default_value_t = 4)]
    keys: usize,
    /// Quota of each key.
    #[arg(long, default_value_t = 600)]
    per_minute: u32,
    /// Candidates under way at once.
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// Share of requests that go wrong.
    #[arg(long, default_value_t = 0.05)]
    faults: f64,
    /// Time of an answer.
    #[arg(long, default_value_t = 200)]
    latency_milliseconds: u64,
}

#[tokio::main]
pub async fn run(options: &Options) -> Result<()> {
    let api = FakeApi::start(Settings {
        quota: Some(options.per_minute),
        latency: Duration::from_millis(options.latency_milliseconds),
        fault_share: options.faults,
        faults: vec![
            Fault::Quota(Duration::from_secs(1)),
            Fault::Unavailable,
            Fault::CutOff,
            Fault::NotJson,
            Fault::Safety,
        ],
        ..Settings::default()
    })
    .await;
    let folder = tempfile::tempdir()?;
    configure(folder.path(), options, &api.gemini_endpoint())?;
    let services = AllInOne::start(all_in_one::Options {
        state_dir: folder.path().join("state"),
        models_dir: folder.path().join("models"),
        recipes_dir: None,
        config_dir: Some(folder.path().to_owned()),
        device: "cpu".to_owned(),
        precision: "f32".to_owned(),
        port: None,
        metrics_port: None,
    })
    .await?;
    let started = Instant::now();
    let outcomes = generate(&services.addresses().generator, options.candidates).await?;
    report(options, &api, &outcomes, started.elapsed().as_secs_f64());
    services.stop().await
}

fn configure(folder: &std::path::Path, options: &Options, endpoint: &str) -> Result<()> {
    let keys = folder.join("keys.toml");
    let entry = |i| {
        let quota = options.per_minute;
        format!(
            "[[keys]]\nname = \"k{i}\"\nkey = \"k{i}\"\nrequests_per_minute = {quota}\nrequests_per_day = 1000000\n"
        )
    };
    std::fs::write(&keys, (0..options.keys).map(entry).collect::<String>())?;
    let (in_flight, keys) = (options.in_flight, keys.display());
    let text = format!(
        "[work]\nqueue_capacity = {in_flight}\nmax_in_flight = {in_flight}\n[remote]\nmax_wait_seconds = 600\n[gemini]\nendpoint = \"{endpoint}\"\nkeys_file = \"{keys}\"\n"
    );
    Ok(std::fs::write(folder.join("generator.toml"), text)?)
}

/// How each candidate ended, by its number.
async fn generate(address: &str, candidates: usize) -> Result<HashMap<u64, String>> {
    let transport = saga_client::connect(address).await?;
    let mut client = saga_client::limited!(GeneratorServiceClient::new(transport));
    let requests = (0..candidates as u64).map(|sequence| GenerateStreamRequest {
        sequence,
        spec: Some(CandidateSpec {
            candidate_id: sequence.to_string(),
            backend: "gemini".to_owned(),
            target_label: "fear".to_owned(),
            prompt: format!("number {sequence}."),
            ..CandidateSpec::default()
        }),
    });
    let stream = client
        .generate_stream(futures::stream::iter(requests))
        .await?;
    let mut answers = stream.into_inner();
    let mut outcomes = HashMap::new();
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        let outcome = match answer.outcome {
            Some(generate_stream_response::Outcome::Candidate(candidate)) => {
                candidate.outcome().as_str_name().to_owned()
            }
            Some(generate_stream_response::Outcome::Error(error)) => error.message,
            None => "no answer".to_owned(),
        };
        outcomes.insert(answer.sequence, outcome);
    }
    Ok(outcomes)
}

fn report(options: &Options, api: &FakeApi, outcomes: &HashMap<u64, String>, seconds: f64) {
    let asked = api.asked();
    let image = Outcome::Image.as_str_name();
    let images = outcomes
        .values()
        .filter(|outcome| *outcome == image)
        .count();
    let with_image: Vec<&Asked> = asked.iter().filter(|asked| asked.with_image).collect();
    let different: HashSet<&str> = with_image
        .iter()
        .map(|asked| asked.prompt.as_str())
        .collect();
    // The most that all keys may be asked until then: a full quota at once, and again after each minute.
    let quota = options.keys as f64 * f64::from(options.per_minute);
    let full_quotas = (asked.len() as f64 / quota).ceil() - 1.0;
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for outcome in outcomes.values() {
        *counts.entry(outcome.as_str()).or_default() += 1;
    }
    println!(
        "{} candidates, {} requests in {seconds:.1} s",
        outcomes.len(),
        asked.len()
    );
    println!("outcomes: {counts:?}");
    println!("lost: {}", options.candidates - outcomes.len());
    println!("images made twice: {}", with_image.len() - different.len());
    println!(
        "images paid for and not delivered: {}",
        with_image.len().abs_diff(images)
    );
    println!(
        "most requests of a key in any minute: {} of {}",
        api.most_in_a_window(),
        options.per_minute
    );
    println!(
        "requests a minute: {:.0} of {quota:.0}",
        60.0 * asked.len() as f64 / seconds
    );
    println!(
        "time: {seconds:.1} s; the quotas alone take {:.0} s",
        60.0 * full_quotas
    );
}
