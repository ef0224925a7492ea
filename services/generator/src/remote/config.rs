//! Settings that all remote backends share.

use std::collections::BTreeMap;
use std::time::Duration;

use saga_chassis::InvalidValue;
use serde::{Deserialize, Serialize};

/// The `[remote]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteConfig {
    /// Where the label store with the ledger is.
    pub ledger: String,
    /// Time to connect.
    pub connect_timeout_seconds: u64,
    /// Time that a try may take.
    pub timeout_seconds: u64,
    /// Bytes of an answer's body.
    pub max_answer_bytes: usize,
    /// Time that a request waits for a key before its caller is told to come back.
    pub max_wait_seconds: u64,
    /// Tries of a request.
    pub max_tries: u32,
    /// The first pause after a failed try.
    pub first_pause_milliseconds: u64,
}

impl RemoteConfig {
    /// Time that a request waits for a key.
    pub(super) fn max_wait(&self) -> Duration {
        Duration::from_secs(self.max_wait_seconds)
    }

    /// The longest that a try takes.
    pub(super) fn whole_try(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_seconds + self.timeout_seconds)
    }

    /// Whether every value is within its range.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), InvalidValue> {
        let within = InvalidValue::unless_within;
        within(
            "remote.connect_timeout_seconds",
            self.connect_timeout_seconds,
            1..=600,
        )?;
        within("remote.timeout_seconds", self.timeout_seconds, 1..=3_600)?;
        within("remote.max_wait_seconds", self.max_wait_seconds, 0..=3_600)?;
        InvalidValue::unless_within(
            "remote.max_answer_bytes",
            self.max_answer_bytes,
            1..=1 << 30,
        )?;
        InvalidValue::unless_within("remote.max_tries", self.max_tries, 1..=100)?;
        within(
            "remote.first_pause_milliseconds",
            self.first_pause_milliseconds,
            1..=60_000,
        )
    }
}

/// What a model's answers cost in US dollars.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// An answer with an image.
    pub image_usd: f64,
    /// An answer without one.
    #[serde(default)]
    pub no_image_usd: f64,
    /// An answer with an image of another size, by its name at the server.
    #[serde(default)]
    pub size_usd: BTreeMap<String, f64>,
}

impl Price {
    /// An image of this size; `None`: of the server's own choice.
    pub fn image(&self, size: Option<&str>) -> f64 {
        let own = size.and_then(|size| self.size_usd.get(size));
        own.copied().unwrap_or(self.image_usd)
    }
}

/// What a key allows, where its own entry does not say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLimits {
    /// Absent: any number.
    pub requests_per_minute: Option<u32>,
    /// Absent: any number.
    pub requests_per_day: Option<u32>,
}

/// Whether an endpoint is a URL; `key` is what to name in an error.
///
/// # Errors
/// Where it is none.
pub fn check_endpoint(key: &'static str, endpoint: &str) -> Result<(), InvalidValue> {
    match endpoint.parse::<http::Uri>() {
        Ok(_) => Ok(()),
        Err(_) => Err(InvalidValue::new(
            key,
            format!("is '{endpoint}', which is no URL"),
        )),
    }
}

/// Whether `model` has a price, and every price is one. The keys are those to name in an error.
///
/// # Errors
/// The key that is wrong.
pub fn check_prices(
    (model_key, model): (&'static str, &str),
    (prices_key, prices): (&'static str, &BTreeMap<String, Price>),
) -> Result<(), InvalidValue> {
    if !prices.contains_key(model) {
        let why = format!("is '{model}', which has no price; add [{prices_key}.\"{model}\"]");
        return Err(InvalidValue::new(model_key, why));
    }
    for (model, price) in prices {
        let sizes = price.size_usd.values();
        for usd in sizes.chain([&price.image_usd, &price.no_image_usd]) {
            if !usd.is_finite() || *usd < 0.0 {
                let why = format!("holds {usd} for '{model}'; a price is a number of at least 0");
                return Err(InvalidValue::new(prices_key, why));
            }
        }
    }
    Ok(())
}
