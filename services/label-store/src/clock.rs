//! The time of day, given from outside so that tests need not wait for leases to expire.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// Tells the time in milliseconds since 1970.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A clock that a test sets.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// Milliseconds since 1970.
    pub fn now(&self) -> i64 {
        match self {
            Self::System => {
                let elapsed = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
            }
            Self::Manual(now) => now.load(Ordering::Relaxed),
        }
    }
}
