//! The time of day, given from outside so that tests need not wait for leases to expire.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, clock_gettime};

/// What has to be added to the time since the machine's start to get the time of day, in milliseconds. Found out once, so
/// that a clock that is set while this process runs neither opens a quota early nor keeps a lease for hours.
static BOOTED_AT: LazyLock<i64> = LazyLock::new(|| {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX) - since_boot()
});

/// Milliseconds since the machine's start, time asleep included.
fn since_boot() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec * 1_000 + now.tv_nsec / 1_000_000
}

/// Tells the time in milliseconds since 1970.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock as it was when this process began, and steady from then on.
    System,
    /// A clock that a test sets.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// Milliseconds since 1970.
    pub fn now(&self) -> i64 {
        match self {
            Self::System => *BOOTED_AT + since_boot(),
            Self::Manual(now) => now.load(Ordering::Relaxed),
        }
    }
}
