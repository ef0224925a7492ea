//! Candidates from somebody else's server over HTTP: what every such backend has in common.
//!
//! One request is reserved in the label store's ledger, sent with the key that the ledger chose, and its answer recorded
//! there before the caller gets it. So quotas hold over restarts and replicas, and what was paid for is never asked again.
//!
//! | a try ended with | the ledger gets | what follows |
//! |---|---|---|
//! | an answer, with an image or not | the answer and its price | nothing: a refusal is an answer |
//! | 429 | no cost | the key rests for as long as the server says; another try |
//! | 401, 403, an invalid key | no cost | the key is set aside until it changes; another try |
//! | 5xx | no cost | a pause with jitter; another try |
//! | no whole answer: time-out, cut off, not JSON | the reserved cost stays | a pause with jitter; another try |
//! | another 4xx | no cost | the request is wrong: INVALID_ARGUMENT |

mod answers;
mod backend;
mod batch;
mod config;
mod http;
mod keys;
mod ledger;
mod prepared;

pub mod gemini;
pub mod openai;

pub use backend::{Remote, RemoteBackend};
pub use batch::BatchConfig;
pub use config::{KeyLimits, Price, RemoteConfig, check_endpoint, check_prices};
