//! A bounded queue between asynchronous callers and blocking threads.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// First in, first out. Callers hold a [`Room`] before they push; threads block until something is there.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
    room: Arc<Semaphore>,
    capacity: usize,
}

struct State<T> {
    items: VecDeque<(T, Room)>,
    closed: bool,
}

/// The right to push one item; it returns to the queue when the item is taken or the right is dropped.
pub(crate) struct Room(#[allow(dead_code)] OwnedSemaphorePermit);

/// Why there is no room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    Full,
    Closed,
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let state = Mutex::new(State {
            items: VecDeque::new(),
            closed: false,
        });
        Self {
            state,
            wake: Condvar::new(),
            room: Arc::new(Semaphore::new(capacity)),
            capacity,
        }
    }

    /// Waits for room, first come, first served. None: the queue is closed.
    pub(crate) async fn room(&self) -> Option<Room> {
        Arc::clone(&self.room).acquire_owned().await.ok().map(Room)
    }

    pub(crate) fn try_room(&self) -> Result<Room, NoRoom> {
        let closed = self.is_closed();
        let refused = if closed { NoRoom::Closed } else { NoRoom::Full };
        Arc::clone(&self.room)
            .try_acquire_owned()
            .map(Room)
            .map_err(|_| refused)
    }

    /// False, and the item is dropped, where the queue was closed meanwhile.
    pub(crate) fn push(&self, item: T, room: Room) -> bool {
        let mut state = self.lock();
        if !state.closed {
            state.items.push_back((item, room));
            self.wake.notify_one();
        }
        !state.closed
    }

    /// Blocks for an item, then takes what is there until `most` have passed `keep`; it may keep none of them.
    /// None: closed and empty.
    pub(crate) fn take(&self, most: usize, mut keep: impl FnMut(T) -> Option<T>) -> Option<Vec<T>> {
        let mut state = self.lock();
        while state.items.is_empty() {
            if state.closed {
                return None;
            }
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let mut taken = Vec::new();
        while taken.len() < most {
            let Some((item, _room)) = state.items.pop_front() else {
                break;
            };
            taken.extend(keep(item));
        }
        Some(taken)
    }

    /// Takes no more items; those that wait are still handed out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.room.close();
        self.wake.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().items.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // `keep` is the only foreign code under the lock, and an item lost to its panic answers itself when dropped.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
