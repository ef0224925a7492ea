//! A bounded queue of two levels between asynchronous callers and blocking threads.

use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::levels::{Levels, Priority};

/// First in, first out within a level, the levels as [`Levels`] says. Callers hold a [`Room`] before they push; threads block
/// until something is there. Low items have room for half of the capacity, so that the other half is never theirs; a queue
/// of one item has it for both.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
    room: Arc<Semaphore>,
    low_room: Arc<Semaphore>,
    capacity: usize,
    low_capacity: usize,
}

struct State<T> {
    items: Levels<(T, Room)>,
    closed: bool,
}

/// The right to push one item; it returns to the queue when the item is taken or the right is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    _place: OwnedSemaphorePermit,
    _low: Option<OwnedSemaphorePermit>,
}

/// What becomes of an item that is taken: it is kept or not, and others follow or, where that breaks off, do not.
pub(crate) type Kept<T> = ControlFlow<Option<T>, Option<T>>;

/// Why there is no room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// So many items of the level wait.
    Full {
        capacity: usize,
    },
    Closed,
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let state = Mutex::new(State {
            items: Levels::new(),
            closed: false,
        });
        let low_capacity = (capacity / 2).max(1);
        Self {
            state,
            wake: Condvar::new(),
            room: Arc::new(Semaphore::new(capacity)),
            low_room: Arc::new(Semaphore::new(low_capacity)),
            capacity,
            low_capacity,
        }
    }

    /// Waits for room, first come, first served, also between the levels. None: the queue is closed.
    pub(crate) async fn room(&self, priority: Priority) -> Option<Room> {
        // The level's own limit comes first: a low item that waits for it holds no place.
        let low = match priority {
            Priority::Normal => None,
            Priority::Low => Some(Arc::clone(&self.low_room).acquire_owned().await.ok()?),
        };
        let place = Arc::clone(&self.room).acquire_owned().await.ok()?;
        Some(Room {
            _place: place,
            _low: low,
        })
    }

    pub(crate) fn try_room(&self, priority: Priority) -> Result<Room, NoRoom> {
        if self.is_closed() {
            return Err(NoRoom::Closed);
        }
        let acquire = |room: &Arc<Semaphore>, capacity| {
            let permit = Arc::clone(room).try_acquire_owned();
            permit.map_err(|refused| match refused {
                TryAcquireError::Closed => NoRoom::Closed,
                TryAcquireError::NoPermits => NoRoom::Full { capacity },
            })
        };
        let low = match priority {
            Priority::Normal => None,
            Priority::Low => Some(acquire(&self.low_room, self.low_capacity)?),
        };
        let place = acquire(&self.room, self.capacity)?;
        Ok(Room {
            _place: place,
            _low: low,
        })
    }

    /// False, and the item is dropped, where the queue was closed meanwhile.
    pub(crate) fn push(&self, item: T, priority: Priority, room: Room) -> bool {
        let mut state = self.lock();
        if !state.closed {
            state.items.push((item, room), priority);
            self.wake.notify_one();
        }
        !state.closed
    }

    /// Blocks for an item, then takes what is there and passes `keep`, until that breaks off; it may keep none of them.
    /// None: closed and empty.
    pub(crate) fn take(&self, mut keep: impl FnMut(T) -> Kept<T>) -> Option<Vec<T>> {
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
        while let Some((item, _room)) = state.items.pop() {
            match keep(item) {
                ControlFlow::Continue(kept) => taken.extend(kept),
                ControlFlow::Break(kept) => {
                    taken.extend(kept);
                    break;
                }
            }
        }
        Some(taken)
    }

    /// Drops the items that are not kept, and answers how many; their room returns to the queue.
    pub(crate) fn retain(&self, keep: impl Fn(&T) -> bool) -> usize {
        let mut state = self.lock();
        let before = state.items.len();
        state.items.retain(|(item, _room)| keep(item));
        before - state.items.len()
    }

    /// Takes no more items; those that wait are still handed out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.room.close();
        self.low_room.close();
        self.wake.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Items that go before one of this priority that came now.
    pub(crate) fn ahead(&self, priority: Priority) -> usize {
        self.lock().items.ahead(priority)
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

#[cfg(test)]
mod tests;
