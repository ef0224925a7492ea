//! The loop of tries that every remote backend runs through.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rand::RngExt as _;
use reqwest::RequestBuilder;
use saga_imaging::DecodeLimits;
use saga_proto::labelstore::v1::Key;
use saga_proto::labelstore::v1::settle_request::End;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::answers::{Answered, Failure, Reply};
use super::batch::{Batches, Entry, Forming, Looks};
use super::config::RemoteConfig;
use super::http::{Http, HttpAnswer};
use super::keys::{KeyRing, Secret, Usable};
use super::ledger::{self, Grant, Ledger};
use super::prepared::{AnswerPrice, Prepared};
use crate::backend::{Allowance, Backend, Description, KeyCheck, Made, Outcome, Spec, Without};
use crate::error::GenerateError;
use crate::pool::Pool;

/// What differs between servers: how a request looks and what an answer means.
pub trait Remote: Send + Sync + 'static {
    /// As [`Backend::describe`].
    fn describe(&self) -> Description;

    /// Checks a request and says what it will be.
    ///
    /// # Errors
    /// A field that is wrong.
    fn prepare(&self, spec: &Spec) -> Result<Prepared, GenerateError>;

    /// A request that costs nothing and that the server answers only to who has a good key.
    fn probe(&self, http: &Http, key: &Secret) -> RequestBuilder;

    /// What an answer with an error status means.
    fn failure(&self, answer: &HttpAnswer) -> Failure;

    /// One try.
    fn ask<'a>(
        &'a self,
        http: &'a Http,
        spec: &'a Spec,
        prepared: &'a Prepared,
        key: &'a Secret,
    ) -> BoxFuture<'a, Result<Answered, Failure>>;

    /// Where several requests can be sent as one.
    fn batches(&self) -> Option<&dyn Batches> {
        None
    }
}

/// A backend of `R`'s kind.
pub struct RemoteBackend<R>(Arc<Shared<R>>);

pub(super) struct Shared<R> {
    pub(super) remote: R,
    pub(super) http: Http,
    pub(super) keys: KeyRing,
    pub(super) ledger: Ledger,
    pub(super) tasks: TaskTracker,
    pub(super) forming: Forming,
    pub(super) looks: Looks,
    pool: Pool,
    limits: DecodeLimits,
    pub(super) config: RemoteConfig,
}

impl<R: Remote> RemoteBackend<R> {
    /// Nothing is sent before the first request. Tries under way are among `tasks`, for a stop to wait for.
    ///
    /// # Errors
    /// TLS that cannot be set up, an address of the ledger that is none.
    pub fn new(
        remote: R,
        keys: KeyRing,
        config: &RemoteConfig,
        limits: DecodeLimits,
        pool: Pool,
        tasks: TaskTracker,
    ) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Shared {
            remote,
            http: Http::new(config)?,
            keys,
            ledger: Ledger::new(config)?,
            pool,
            limits,
            config: config.clone(),
            tasks,
            forming: Forming::default(),
            looks: Looks::default(),
        })))
    }
}

impl<R: Remote> Backend for RemoteBackend<R> {
    fn describe(&self) -> Description {
        self.0.remote.describe()
    }

    fn allowance(&self) -> Allowance {
        self.0.keys.allowance()
    }

    fn check_keys(&self) -> BoxFuture<'_, Result<Vec<KeyCheck>, GenerateError>> {
        Box::pin(async move {
            let shared = &self.0;
            let mut checks = Vec::new();
            for (name, secret) in shared.keys.all()? {
                let probe = shared.remote.probe(&shared.http, &secret);
                let accepted = match shared.http.send(probe).await {
                    Ok(answer) if answer.status.is_success() => Ok(()),
                    Ok(answer) => Err(shared.remote.failure(&answer).to_string()),
                    Err(failure) => Err(failure.to_string()),
                };
                checks.push(KeyCheck { name, accepted });
            }
            Ok(checks)
        })
    }

    fn generate(&self, spec: Spec) -> BoxFuture<'_, Result<Made, GenerateError>> {
        Box::pin(async move {
            let prepared = self.0.remote.prepare(&spec)?;
            let reply = self.0.clone().reply(Arc::new(spec), &prepared).await?;
            Ok(Made {
                outcome: reply.outcome,
                parameters: prepared.parameters,
                cost_usd: reply.cost_usd,
                fault: None,
            })
        })
    }
}

impl<R: Remote> Shared<R> {
    /// The answer, after as many tries as the ledger allows.
    async fn reply(
        self: Arc<Self>,
        spec: Arc<Spec>,
        prepared: &Prepared,
    ) -> Result<Reply, GenerateError> {
        let name = self.remote.describe().name;
        let id = request_id(name, &spec, prepared);
        let mut pause = Duration::from_millis(self.config.first_pause_milliseconds);
        loop {
            let mut keys = self.usable_keys().await?;
            if prepared.batch {
                keys.truncate(1);
                // A batch is one request, under limits of its own.
                keys.iter_mut().for_each(|key| key.limits.clear());
            }
            let (cost, budget) = (prepared.price.most_usd(), spec.budget.clone());
            let grant = self.ledger.reserve(&id, name, keys, cost, budget).await?;
            let (permit, key) = match grant {
                Grant::Answered(reply) => return Ok(reply),
                Grant::Operation(operation) => {
                    self.look_at(operation).await?;
                    continue;
                }
                Grant::Permit { id, key, wait } => {
                    tokio::time::sleep(wait).await;
                    (id, key)
                }
            };
            let (shared, spec, prepared) = (self.clone(), spec.clone(), prepared.clone());
            if prepared.batch {
                let entry = Entry {
                    permit,
                    spec,
                    prepared,
                };
                self.send_with_others(entry, &key).await?;
            } else {
                // A task of its own: an answer that has been paid for is recorded also where the caller leaves.
                let one = async move { shared.one_try(&permit, &key, &spec, &prepared).await };
                let ended = self.tasks.spawn(one.in_current_span()).await;
                let ended = ended.map_err(|error| GenerateError::Internal(error.to_string()))?;
                if let Some(reply) = ended? {
                    return Ok(reply);
                }
            }
            let jitter = rand::rng().random_range(0.5..1.5);
            tokio::time::sleep(pause.mul_f64(jitter)).await;
            pause *= 2;
        }
    }

    /// The keys that can be used, once one can.
    async fn usable_keys(&self) -> Result<Vec<Key>, GenerateError> {
        let latest = Instant::now() + self.config.max_wait();
        loop {
            match self.keys.usable()? {
                Usable::Keys(keys) => return Ok(keys),
                Usable::Resting(left) if Instant::now() + left <= latest => {
                    tokio::time::sleep(left).await;
                }
                Usable::Resting(left) => {
                    let name = self.remote.describe().name;
                    return Err(GenerateError::Quota {
                        message: format!("{name} says that every key has used up its quota"),
                        retry_after: left,
                    });
                }
            }
        }
    }

    /// One try with its settlement; `None`: it failed and another may follow.
    async fn one_try(
        &self,
        permit: &str,
        key: &str,
        spec: &Spec,
        prepared: &Prepared,
    ) -> Result<Option<Reply>, GenerateError> {
        let asked = match self.keys.secret(key) {
            Some(secret) => {
                let span = tracing::info_span!("ask", key, model = prepared.model);
                let asked = self.remote.ask(&self.http, spec, prepared, &secret);
                let asked = asked.instrument(span).await;
                if let Err(Failure::BadKey(why)) = &asked {
                    self.keys.set_aside(key, &secret, why);
                }
                asked
            }
            None => Err(Failure::Unavailable(format!("key '{key}' was taken away"))),
        };
        match asked {
            Ok(answered) => {
                let recorded = self.record(permit, answered, &prepared.price).await;
                recorded.map(Some)
            }
            Err(failure) => {
                self.learn(key, &failure);
                self.failed(permit, failure).await.map(|()| None)
            }
        }
    }

    /// Lets a key rest that has no quota left.
    pub(super) fn learn(&self, key: &str, failure: &Failure) {
        if let Failure::Limited { retry_after, .. } = failure {
            self.keys.rest(key, *retry_after);
        }
    }

    pub(super) async fn record(
        &self,
        permit: &str,
        answered: Answered,
        price: &AnswerPrice,
    ) -> Result<Reply, GenerateError> {
        let outcome = self.decodable(answered.outcome).await?;
        let cost = answered.cost_usd.unwrap_or_else(|| price.cost_of(&outcome));
        let end = ledger::answer(&outcome);
        let settled = self.ledger.settle(permit, Some(cost), end).await;
        let cost_usd = settled.unwrap_or_else(|error| {
            tracing::error!(permit, %error, "an answer could not be recorded; asked again, it would be paid for again");
            cost
        });
        Ok(Reply { outcome, cost_usd })
    }

    pub(super) async fn failed(&self, permit: &str, failure: Failure) -> Result<(), GenerateError> {
        tracing::warn!(permit, %failure, "a try failed");
        let cost = match failure {
            Failure::Lost(_) => None,
            _ => Some(0.0),
        };
        let end = End::Failure(failure.to_string());
        self.ledger.settle(permit, cost, end).await?;
        match failure {
            Failure::Rejected(why) => Err(GenerateError::invalid("spec", why)),
            _ => Ok(()),
        }
    }

    /// An image that does not decode is an outcome of its own.
    async fn decodable(&self, outcome: Outcome) -> Result<Outcome, GenerateError> {
        let Outcome::Image(data) = outcome else {
            return Ok(outcome);
        };
        let limits = self.limits;
        let decode = move || {
            Ok(match saga_imaging::decode(&data, &limits) {
                Ok(_) => Outcome::Image(data),
                Err(error) => Outcome::Without(Without::Undecodable, error.to_string()),
            })
        };
        self.pool.run(decode).await
    }
}

/// The same for the same candidate of the same contents. Without a candidate's id each request is another one.
fn request_id(backend: &str, spec: &Spec, prepared: &Prepared) -> String {
    if spec.candidate_id.is_empty() {
        return uuid::Uuid::now_v7().simple().to_string();
    }
    let seed = spec.seed.to_string();
    let parts = [
        backend,
        &spec.candidate_id,
        &spec.source_blake3,
        &spec.source_label,
        &spec.target_label,
        &spec.prompt,
        &seed,
    ];
    let settings = prepared.parameters.iter();
    let settings = settings.flat_map(|(name, value)| [name.as_str(), value]);
    let mut hash = blake3::Hasher::new();
    for part in parts.into_iter().chain(settings) {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().to_hex().to_string()
}
