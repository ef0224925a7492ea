//! Remote backends against a local server that behaves like the real ones, with the label store's real ledger: every fault
//! has its outcome, no quota is exceeded, and nothing that was paid for is asked for again.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use all_in_one::{AllInOne, Options};
use fake_api::{FakeApi, Fault, Settings};
use saga_chassis::status::reason;
use saga_client::Transport;
use saga_proto::generator::v1::{
    Budget, Candidate, CandidateSpec, GenerateRequest, Outcome,
    generator_service_client::GeneratorServiceClient,
};
use saga_proto::labelstore::v1::{
    GetSpendingRequest, Spending, ledger_service_client::LedgerServiceClient,
};
use saga_proto::r#type::v1::Image;
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const IMAGE_USD: f64 = 0.04;
const NO_IMAGE_USD: f64 = 0.001;

struct System {
    services: AllInOne,
    folder: TempDir,
    generator: GeneratorServiceClient<Transport>,
}

impl System {
    async fn start(api: &FakeApi, keys: &[&str], extra: &str) -> Self {
        Self::start_at(&api.gemini_endpoint(), &api.openai_endpoint(), keys, extra).await
    }

    async fn start_at(gemini: &str, openai: &str, keys: &[&str], extra: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_keys(folder.path(), keys);
        let config = format!(
            r#"
            [remote]
            timeout_seconds = 2
            max_answer_bytes = 1000000
            max_wait_seconds = 5
            first_pause_milliseconds = 1
            {extra}
            [work]
            queue_capacity = 256
            [gemini]
            endpoint = "{gemini}"
            keys_file = "{}"
            requests_per_minute = 1000
            [gemini.prices."gemini-2.5-flash-image"]
            image_usd = {IMAGE_USD}
            no_image_usd = {NO_IMAGE_USD}
            [openai]
            endpoint = "{openai}"
            model = "flux"
            send_seed = true
            prices = {{ flux = {{ image_usd = 0.01 }} }}
            [gemini.batch]
            max_requests = 4
            linger_milliseconds = 50
            poll_seconds = 1
            "#,
            folder.path().join("keys.toml").display()
        );
        fs::write(folder.path().join("generator.toml"), config).unwrap();
        Self::open(folder).await
    }

    async fn open(folder: TempDir) -> Self {
        let options = Options {
            config_dir: Some(folder.path().to_owned()),
            ..common::options(folder.path())
        };
        let services = AllInOne::start(options).await.unwrap();
        let address = &services.addresses().generator;
        let transport = saga_client::connect(address).await.unwrap();
        Self {
            generator: saga_client::limited!(GeneratorServiceClient::new(transport)),
            services,
            folder,
        }
    }

    async fn restart(self) -> Self {
        self.services.stop().await.unwrap();
        Self::open(self.folder).await
    }

    async fn generate(&self, spec: CandidateSpec) -> Result<Candidate, Status> {
        let request = GenerateRequest { spec: Some(spec) };
        let answer = self.generator.clone().generate(request).await?;
        Ok(answer.into_inner().candidate.unwrap())
    }

    async fn spending(&self) -> Spending {
        let address = &self.services.addresses().label_store;
        let transport = saga_client::connect(address).await.unwrap();
        let request = GetSpendingRequest {
            budget_id: "run-1".into(),
        };
        let answer = LedgerServiceClient::new(transport)
            .get_spending(request)
            .await;
        answer.unwrap().into_inner().spending.remove(0)
    }
}

fn write_keys(folder: &Path, keys: &[&str]) {
    let entry = |key: &&str| format!("[[keys]]\nname = \"{key}\"\nkey = \"secret-{key}\"\n");
    fs::write(
        folder.join("keys.toml"),
        keys.iter().map(entry).collect::<String>(),
    )
    .unwrap();
}

fn spec(id: &str) -> CandidateSpec {
    CandidateSpec {
        candidate_id: id.to_owned(),
        backend: "gemini".to_owned(),
        source: Some(Image {
            data: b"\xff\xd8\xff a source".to_vec().into(),
            blake3: String::new(),
        }),
        source_label: "neutral".to_owned(),
        target_label: "fear".to_owned(),
        prompt: format!("a frightened face, number {id}"),
        seed: 7,
        budget: Some(Budget {
            id: "run-1".to_owned(),
            max_cost_usd: None,
        }),
        ..CandidateSpec::default()
    }
}

fn cost(candidate: &Candidate) -> f64 {
    candidate.provenance.as_ref().unwrap().cost_usd
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_lack_an_image_is_an_outcome_with_its_price_and_is_asked_once() {
    let api = FakeApi::start(Settings::default()).await;
    let system = System::start(&api, &["a"], "").await;
    let faults = [
        (Fault::Safety, Outcome::SafetyBlock, NO_IMAGE_USD),
        (Fault::Prompt, Outcome::PromptBlock, NO_IMAGE_USD),
        (Fault::TextOnly, Outcome::TextOnly, NO_IMAGE_USD),
        (Fault::NoImage, Outcome::NoImage, NO_IMAGE_USD),
        (Fault::Truncated, Outcome::Truncated, NO_IMAGE_USD),
        (Fault::NotBase64, Outcome::Undecodable, IMAGE_USD),
        (Fault::NotAnImage, Outcome::Undecodable, IMAGE_USD),
        (Fault::WrongMime, Outcome::Image, IMAGE_USD),
    ];
    for (i, (fault, outcome, usd)) in faults.into_iter().enumerate() {
        api.push(fault);
        let candidate = system.generate(spec(&i.to_string())).await.unwrap();
        assert_eq!(
            candidate.outcome(),
            outcome,
            "{fault:?}: {}",
            candidate.message
        );
        assert_eq!(cost(&candidate), usd, "{fault:?}");
        assert_eq!(candidate.image.is_some(), outcome == Outcome::Image);
    }
    assert_eq!(api.asked().len(), faults.len());
    let spending = system.spending().await;
    let outcomes = HashMap::from(
        [
            ("SAFETY_BLOCK", 1),
            ("PROMPT_BLOCK", 1),
            ("TEXT_ONLY", 1),
            ("NO_IMAGE", 1),
            ("TRUNCATED", 1),
            ("UNDECODABLE", 2),
            ("IMAGE", 1),
        ]
        .map(|(name, n)| (name.to_owned(), n)),
    );
    assert_eq!(spending.outcomes, outcomes);
    assert!((spending.cost_usd - 5.0 * NO_IMAGE_USD - 3.0 * IMAGE_USD).abs() < 1e-9);
    let asked = &api.asked()[0];
    assert!(
        asked.prompt.contains("expression is neutral")
            && asked
                .prompt
                .contains("to fear: a frightened face, number 0")
    );
    assert_eq!(
        asked.source.as_deref(),
        Some(b"\xff\xd8\xff a source".as_slice())
    );
    assert_eq!((asked.seed, asked.key.as_str()), (Some(7), "secret-a"));
    system.services.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_tried_again_and_what_was_lost_stays_counted() {
    let api = FakeApi::start(Settings::default()).await;
    let system = System::start(&api, &["a"], "").await;
    let passing = [
        (Fault::Unavailable, 0.0),
        (Fault::Redirect, 0.0),
        (Fault::CutOff, IMAGE_USD),
        (Fault::NotJson, IMAGE_USD),
        (Fault::Huge(2_000_000), IMAGE_USD),
        (Fault::Slow(Duration::from_secs(60)), IMAGE_USD),
    ];
    for (i, (fault, lost)) in passing.into_iter().enumerate() {
        api.push(fault);
        let candidate = system.generate(spec(&i.to_string())).await.unwrap();
        assert_eq!(candidate.outcome(), Outcome::Image, "{fault:?}");
        assert_eq!(cost(&candidate), IMAGE_USD + lost, "{fault:?}");
    }
    assert_eq!(api.asked().len(), 2 * passing.len());
    for _ in 0..3 {
        api.push(Fault::Unavailable);
    }
    let refused = system.generate(spec("thrice")).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(reason(&refused).as_deref(), Some("TRIES_USED_UP"));
    assert!(
        refused
            .message()
            .contains("HTTP 503: The model is overloaded."),
        "{refused}"
    );
    api.push(Fault::Rejected);
    let wrong = system.generate(spec("wrong")).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert!(
        wrong.message().contains("Unable to process input image."),
        "{wrong}"
    );
    assert_eq!(api.asked().len(), 2 * passing.len() + 4);
    system.services.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_quota_rests_and_one_that_is_not_taken_is_named_until_it_changes() {
    let api = FakeApi::start(Settings {
        bad_keys: ["secret-b".to_owned()].into(),
        ..Settings::default()
    })
    .await;
    let system = System::start(&api, &["a", "b"], "").await;
    api.push(Fault::Quota(Duration::from_secs(3_600)));
    // Key a is told to rest for an hour, then key b is not taken.
    let refused = system.generate(spec("1")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(reason(&refused).as_deref(), Some("QUOTA_EXHAUSTED"));
    let retry = refused
        .get_details_retry_info()
        .unwrap()
        .retry_delay
        .unwrap();
    assert!((3_500..=3_600).contains(&retry.as_secs()), "{retry:?}");
    let keys: Vec<String> = api.asked().into_iter().map(|asked| asked.key).collect();
    assert_eq!(keys, ["secret-a", "secret-b"]);
    // A key that is added while the service runs is used.
    write_keys(system.folder.path(), &["a", "b", "c"]);
    let candidate = system.generate(spec("1")).await.unwrap();
    assert_eq!(candidate.outcome(), Outcome::Image);
    assert_eq!(api.asked()[2].key, "secret-c");
    write_keys(system.folder.path(), &["b"]);
    let refused = system.generate(spec("2")).await.unwrap_err();
    assert_eq!(reason(&refused).as_deref(), Some("NO_KEY"));
    assert!(
        refused
            .message()
            .contains("'b' (HTTP 400: API key not valid.)"),
        "{refused}"
    );
    assert!(!refused.message().contains("secret"), "{refused}");
    system.services.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_candidate_is_paid_for_once_also_over_a_restart_and_where_the_caller_left() {
    let api = FakeApi::start(Settings::default()).await;
    let system = System::start(&api, &["a"], "").await;
    let first = system.generate(spec("1")).await.unwrap();
    assert_eq!(system.generate(spec("1")).await.unwrap().image, first.image);
    let other = CandidateSpec {
        seed: 8,
        ..spec("1")
    };
    assert_ne!(system.generate(other).await.unwrap().image, first.image);
    // A caller that gives up while the answer is on its way.
    api.change(|settings| settings.latency = Duration::from_millis(300));
    let late = tokio::time::timeout(Duration::from_millis(100), system.generate(spec("2"))).await;
    assert!(late.is_err());
    let system = system.restart().await;
    assert_eq!(system.generate(spec("1")).await.unwrap().image, first.image);
    let second = system.generate(spec("2")).await.unwrap();
    assert_eq!(second.outcome(), Outcome::Image);
    assert_eq!(api.asked().len(), 3);
    system.services.stop().await.unwrap();
}

fn in_a_batch(id: &str) -> CandidateSpec {
    CandidateSpec {
        parameters: [("batch".to_owned(), "true".to_owned())].into(),
        ..spec(id)
    }
}

/// Asks for `ids` together; every one is told to come back, for the reason that a batch is under way.
async fn put_off(system: &System, ids: &[&str]) {
    let asked = ids.iter().map(|id| system.generate(in_a_batch(id)));
    for refused in futures::future::join_all(asked).await {
        let refused = refused.unwrap_err();
        assert_eq!(reason(&refused).as_deref(), Some("BATCH_PENDING"));
        let retry = refused.get_details_retry_info().unwrap().retry_delay;
        assert_eq!(retry, Some(Duration::from_secs(1)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_costs_half_and_is_paid_for_once_also_over_a_restart() {
    let api = FakeApi::start(Settings::default()).await;
    let system = System::start(&api, &["a", "b"], "").await;
    let ids = ["1", "2", "3", "4", "5", "6"];
    api.push(Fault::Safety);
    api.push(Fault::NotBase64);
    // Four fill a batch, the others wait their time and make another.
    put_off(&system, &ids).await;
    assert_eq!((api.batches(), api.asked().len()), ((2, 0), 6));
    let system = system.restart().await;
    let asked = ids.map(|id| system.generate(in_a_batch(id)));
    let mut outcomes = HashMap::<Outcome, usize>::new();
    for made in futures::future::join_all(asked).await {
        let made = made.unwrap();
        let share = match made.outcome() {
            Outcome::SafetyBlock => NO_IMAGE_USD / 2.0,
            _ => IMAGE_USD / 2.0,
        };
        assert_eq!(cost(&made), share, "{:?}", made.outcome());
        *outcomes.entry(made.outcome()).or_default() += 1;
    }
    let expected = [
        (Outcome::Image, 4),
        (Outcome::SafetyBlock, 1),
        (Outcome::Undecodable, 1),
    ];
    assert_eq!(outcomes, HashMap::from(expected));
    // Every batch was looked at once; what it brought is in the ledger.
    assert_eq!((api.batches(), api.asked().len()), ((2, 2), 6));
    system.generate(in_a_batch("1")).await.unwrap();
    assert_eq!(api.batches(), (2, 2));
    let spending = system.spending().await;
    assert!((spending.cost_usd - (5.0 * IMAGE_USD + NO_IMAGE_USD) / 2.0).abs() < 1e-9);
    system.services.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_taken_unheard_is_found_again_and_not_paid_for_again() {
    let api = FakeApi::start(Settings {
        batch_latency: Duration::from_secs(3_600),
        ..Settings::default()
    })
    .await;
    let (gemini, openai) = (api.gemini_endpoint(), api.openai_endpoint());
    let process = tokio::runtime::Runtime::new().unwrap();
    let started = async move { System::start_at(&gemini, &openai, &["a"], "").await };
    let system = process.spawn(started).await.unwrap();
    let generator = system.generator.clone();
    process.spawn(async move {
        let asked = ["1", "2"].map(|id| {
            let (mut generator, spec) = (generator.clone(), Some(in_a_batch(id)));
            async move { generator.generate(GenerateRequest { spec }).await }
        });
        futures::future::join_all(asked).await
    });
    while api.batches().0 == 0 {
        tokio::task::yield_now().await;
    }
    // Killed while the server's answer is on its way; the folder stays.
    let System {
        folder, services, ..
    } = system;
    tokio::task::spawn_blocking(move || {
        process.shutdown_timeout(Duration::from_secs(10));
        drop(services);
    })
    .await
    .unwrap();
    api.change(|settings| settings.batch_latency = Duration::ZERO);
    let system = System::open(folder).await;
    // Batches of others, so that it is not on the first page of the list.
    put_off(&system, &["3"]).await;
    put_off(&system, &["4"]).await;
    for id in ["1", "2"] {
        let made = system.generate(in_a_batch(id)).await.unwrap();
        assert_eq!(
            (made.outcome(), cost(&made)),
            (Outcome::Image, IMAGE_USD / 2.0)
        );
    }
    assert_eq!((api.batches().0, api.asked().len()), (3, 4));
    // The same where the answer takes longer than anybody waits.
    api.change(|settings| settings.batch_latency = Duration::from_secs(3_600));
    put_off(&system, &["5"]).await;
    api.change(|settings| settings.batch_latency = Duration::ZERO);
    let made = system.generate(in_a_batch("5")).await.unwrap();
    assert_eq!(made.outcome(), Outcome::Image);
    assert_eq!((api.batches().0, api.asked().len()), (4, 5));
    let spending = system.spending().await;
    assert!((spending.cost_usd - 5.0 * IMAGE_USD / 2.0).abs() < 1e-9);
    system.services.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_refused_expires_or_lacks_an_answer_is_another_try() {
    let api = FakeApi::start(Settings {
        bad_keys: ["secret-a".to_owned()].into(),
        batch_looks: 1,
        batches_expire: true,
        ..Settings::default()
    })
    .await;
    let system = System::start(&api, &["a", "b"], "").await;
    // The first key is not taken, then the server is not there, then the batch goes out with the second key.
    api.push(Fault::Unavailable);
    put_off(&system, &["1"]).await;
    assert_eq!(api.batches(), (1, 0));
    // At work when it is looked at, and not looked at again within a second.
    put_off(&system, &["1"]).await;
    put_off(&system, &["1"]).await;
    assert_eq!(api.batches(), (1, 1));
    api.change(|settings| {
        settings.batches_expire = false;
        settings.batch_looks = 0;
    });
    // Three tries are all there are: what failed before counts, too.
    let mut last = system.generate(in_a_batch("1")).await;
    while matches!(&last, Err(status) if reason(status).as_deref() == Some("BATCH_PENDING")) {
        last = system.generate(in_a_batch("1")).await;
    }
    let refused = last.map(|made| made.outcome()).unwrap_err();
    assert_eq!(reason(&refused).as_deref(), Some("TRIES_USED_UP"));
    assert!(
        refused.message().contains("BATCH_STATE_EXPIRED"),
        "{refused}"
    );
    // One request of a batch fails at the server, and is in the next one.
    api.push(Fault::Rejected);
    put_off(&system, &["2"]).await;
    put_off(&system, &["2"]).await;
    let made = system.generate(in_a_batch("2")).await.unwrap();
    assert_eq!(
        (made.outcome(), cost(&made)),
        (Outcome::Image, IMAGE_USD / 2.0)
    );
    assert_eq!(api.batches().0, 3);
    let wrong = CandidateSpec {
        parameters: [("batch".to_owned(), "yes".to_owned())].into(),
        ..spec("3")
    };
    let wrong = system.generate(wrong).await.unwrap_err();
    assert!(wrong.message().contains("\"true\" or \"false\""), "{wrong}");
    system.services.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_stops_before_it_is_overspent() {
    let api = FakeApi::start(Settings::default()).await;
    let system = System::start(&api, &["a"], "").await;
    let within = |id: usize| CandidateSpec {
        budget: Some(Budget {
            id: "run-1".to_owned(),
            max_cost_usd: Some(3.5 * IMAGE_USD),
        }),
        ..spec(&id.to_string())
    };
    let asked = futures::future::join_all((0..8).map(|id| system.generate(within(id)))).await;
    let (made, refused): (Vec<_>, Vec<_>) = asked.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), api.asked().len()), (3, 3));
    for refused in refused {
        assert_eq!(
            reason(&refused.unwrap_err()).as_deref(),
            Some("BUDGET_SPENT")
        );
    }
    system.services.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_quota_is_exceeded_in_any_window_and_faults_lose_and_double_nothing() {
    const QUOTA: u32 = 40;
    const CANDIDATES: usize = 100;
    let faults = vec![
        Fault::Unavailable,
        Fault::CutOff,
        Fault::NotJson,
        Fault::Quota(Duration::from_millis(50)),
        Fault::Safety,
    ];
    let api = FakeApi::start(Settings {
        quota: Some(QUOTA),
        fault_share: 0.05,
        faults,
        ..Settings::default()
    })
    .await;
    let system = System::start(&api, &["a", "b", "c"], "").await;
    let file = system.folder.path().join("keys.toml");
    let limited = fs::read_to_string(&file).unwrap();
    let limited = limited.replace("key = ", &format!("requests_per_minute = {QUOTA}\nkey = "));
    fs::write(&file, limited).unwrap();
    let all = (0..CANDIDATES).map(|id| system.generate(spec(&id.to_string())));
    let made = futures::future::join_all(all).await;
    for candidate in &made {
        let candidate = candidate.as_ref().unwrap();
        assert!([Outcome::Image, Outcome::SafetyBlock].contains(&candidate.outcome()));
    }
    assert!(
        api.most_in_a_window() <= QUOTA as usize,
        "{}",
        api.most_in_a_window()
    );
    let mut images: HashMap<String, usize> = HashMap::new();
    for asked in api.asked().iter().filter(|asked| asked.with_image) {
        *images.entry(asked.prompt.clone()).or_default() += 1;
    }
    let images_made = made
        .iter()
        .filter(|made| made.as_ref().unwrap().image.is_some())
        .count();
    assert_eq!(
        (images.len(), images.values().max()),
        (images_made, Some(&1))
    );
    system.services.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_openais_api_edits_and_creates() {
    let api = FakeApi::start(Settings::default()).await;
    let system = System::start(&api, &["a"], "").await;
    let openai = |id: &str| CandidateSpec {
        backend: "openai".to_owned(),
        ..spec(id)
    };
    let edited = system.generate(openai("1")).await.unwrap();
    assert_eq!((edited.outcome(), cost(&edited)), (Outcome::Image, 0.01));
    let create = CandidateSpec {
        source: None,
        ..openai("2")
    };
    assert_eq!(
        system.generate(create).await.unwrap().outcome(),
        Outcome::Image
    );
    let asked = api.asked();
    assert_eq!(
        asked[0].source.as_deref(),
        Some(b"\xff\xd8\xff a source".as_slice())
    );
    assert_eq!(
        (asked[0].prompt.as_str(), asked[0].seed),
        ("a frightened face, number 1", Some(7))
    );
    assert_eq!((&asked[1].source, asked[1].seed), (&None, Some(7)));
    for (i, (fault, outcome)) in [
        (Fault::Safety, Outcome::SafetyBlock),
        (Fault::Prompt, Outcome::PromptBlock),
        (Fault::NoImage, Outcome::NoImage),
    ]
    .into_iter()
    .enumerate()
    {
        api.push(fault);
        let candidate = system
            .generate(openai(&format!("fault-{i}")))
            .await
            .unwrap();
        assert_eq!(candidate.outcome(), outcome, "{}", candidate.message);
    }
    api.push(Fault::Quota(Duration::from_millis(20)));
    let after = system.generate(openai("4")).await.unwrap();
    assert_eq!(after.outcome(), Outcome::Image);
    system.services.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_says_why() {
    let api = FakeApi::start(Settings::default()).await;
    // A server that speaks no TLS where TLS is expected.
    let tls = api.gemini_endpoint().replace("http://", "https://");
    let system = System::start_at(&tls, "", &["a"], "max_tries = 1").await;
    let refused = system.generate(spec("1")).await.unwrap_err();
    assert!(refused.message().contains("no connection"), "{refused}");
    let parameter = |name: &str, value: &str| CandidateSpec {
        parameters: HashMap::from([(name.to_owned(), value.to_owned())]),
        ..spec("2")
    };
    let refused = system
        .generate(parameter("model", "gemini-9"))
        .await
        .unwrap_err();
    assert!(
        refused
            .message()
            .contains("spec.parameters[\"model\"]: is 'gemini-9', which has no price"),
        "{refused}"
    );
    let refused = system
        .generate(parameter("temperature", "3"))
        .await
        .unwrap_err();
    assert!(refused.message().contains("0 to 2"), "{refused}");
    fs::remove_file(system.folder.path().join("keys.toml")).unwrap();
    let system = system.restart().await;
    let refused = system.generate(spec("3")).await.unwrap_err();
    assert_eq!(reason(&refused).as_deref(), Some("NO_KEY"));
    assert!(
        refused.message().contains("cannot read the keys in"),
        "{refused}"
    );
    assert!(api.asked().is_empty());
    system.services.stop().await.unwrap();
}
