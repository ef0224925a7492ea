//! How urgent calls are to gates and model services.

use saga_proto::PRIORITY_KEY;
use tonic::{
    Request,
    metadata::{Ascii, MetadataMap, MetadataValue},
};

/// Which items of a service's queues go first. Set it for all calls with [`Options::priority`](crate::Options::priority), or
/// for one with [`mark`](Self::mark).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits for the answer.
    #[default]
    Normal,
    /// Work in bulk that gives way to normal calls.
    Low,
}

impl Priority {
    /// States the priority of one call, whatever its transport states.
    pub fn mark<T>(self, request: &mut Request<T>) {
        let metadata = request.metadata_mut();
        metadata.insert(PRIORITY_KEY, self.value());
    }

    /// States the priority of a transport, except where the call states its own.
    pub(crate) fn mark_unstated(self, metadata: &mut MetadataMap) {
        if self != Self::default() && !metadata.contains_key(PRIORITY_KEY) {
            metadata.insert(PRIORITY_KEY, self.value());
        }
    }

    fn value(self) -> MetadataValue<Ascii> {
        MetadataValue::from_static(match self {
            Self::Normal => "normal",
            Self::Low => "low",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(metadata: &MetadataMap) -> Option<&str> {
        metadata.get(PRIORITY_KEY)?.to_str().ok()
    }

    #[test]
    fn a_call_states_its_own_and_else_its_transports() {
        let mut request = Request::new(());
        Priority::Normal.mark_unstated(request.metadata_mut());
        assert_eq!(stated(request.metadata()), None);
        Priority::Low.mark_unstated(request.metadata_mut());
        assert_eq!(stated(request.metadata()), Some("low"));
        Priority::Normal.mark(&mut request);
        Priority::Low.mark_unstated(request.metadata_mut());
        assert_eq!(stated(request.metadata()), Some("normal"));
    }
}
