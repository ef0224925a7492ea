//! Properties of the queue under any order of pushing and taking.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::levels::LOW_EVERY;

/// Takes up to so many items.
fn take<T>(queue: &Queue<T>, most: usize) -> Option<Vec<T>> {
    let mut taken = 0;
    queue.take(|item| {
        taken += 1;
        match taken == most {
            true => ControlFlow::Break(Some(item)),
            false => ControlFlow::Continue(Some(item)),
        }
    })
}

/// What the queue promises, in its simplest form.
struct Model {
    capacity: usize,
    low_capacity: usize,
    normal: VecDeque<usize>,
    low: VecDeque<usize>,
    /// Normal items taken since a low one came to the head of its line.
    passed: usize,
}

impl Model {
    fn has_room(&self, priority: Priority) -> bool {
        let within = self.normal.len() + self.low.len() < self.capacity;
        within && (priority == Priority::Normal || self.low.len() < self.low_capacity)
    }

    fn push(&mut self, item: usize, priority: Priority) {
        match priority {
            Priority::Normal => self.normal.push_back(item),
            Priority::Low => self.low.push_back(item),
        }
    }

    /// Checks one item that was taken: it is the first of its level, and no low one was passed too often.
    fn take(&mut self, item: usize) -> Result<(), TestCaseError> {
        if self.low.front() == Some(&item) {
            self.low.pop_front();
            self.passed = 0;
            return Ok(());
        }
        prop_assert_eq!(self.normal.pop_front(), Some(item));
        if self.low.is_empty() {
            self.passed = 0;
        } else {
            self.passed += 1;
        }
        prop_assert!(
            self.passed < LOW_EVERY,
            "a low item was passed {} times",
            self.passed
        );
        Ok(())
    }

    /// A low item goes first only where no normal one waits, or where it was passed often enough.
    fn low_may_go_first(&self) -> bool {
        self.normal.is_empty() || self.passed == LOW_EVERY - 1
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push(Priority),
    Take(usize),
    /// Drops every item whose number this divides.
    Drop(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Push(Priority::Normal)),
        2 => Just(Step::Push(Priority::Low)),
        2 => (1..12_usize).prop_map(Step::Take),
        1 => (2..5_usize).prop_map(Step::Drop),
    ];
    prop::collection::vec(step, 0..400)
}

proptest! {
    #[test]
    fn nothing_is_lost_doubled_reordered_or_starved_and_the_levels_keep_their_share(
        capacity in 1..40_usize,
        steps in steps(),
    ) {
        let queue = Queue::new(capacity);
        let mut model = Model {
            capacity,
            low_capacity: (capacity / 2).max(1),
            normal: VecDeque::new(),
            low: VecDeque::new(),
            passed: 0,
        };
        for (item, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push(priority) => match queue.try_room(priority) {
                    Ok(room) => {
                        prop_assert!(model.has_room(priority));
                        prop_assert!(queue.push(item, priority, room));
                        model.push(item, priority);
                    }
                    Err(refused) => {
                        prop_assert!(!model.has_room(priority));
                        prop_assert_ne!(refused, NoRoom::Closed);
                    }
                },
                Step::Drop(divisor) => {
                    let before = queue.len();
                    let dropped = queue.retain(|item| item % divisor != 0);
                    model.normal.retain(|item| item % divisor != 0);
                    model.low.retain(|item| item % divisor != 0);
                    prop_assert_eq!(dropped, before - queue.len());
                }
                // Taking from an empty queue would wait for the next item.
                Step::Take(_) if queue.len() == 0 => {}
                Step::Take(most) => {
                    let taken = take(&queue, most).unwrap_or_default();
                    let waiting = model.normal.len() + model.low.len();
                    prop_assert_eq!(taken.len(), most.min(waiting));
                    for item in taken {
                        let is_low = model.low.contains(&item);
                        prop_assert!(!is_low || model.low_may_go_first());
                        model.take(item)?;
                    }
                }
            }
            prop_assert_eq!(queue.len(), model.normal.len() + model.low.len());
        }
        queue.close();
        for item in take(&queue, usize::MAX).unwrap_or_default() {
            model.take(item)?;
        }
        prop_assert!(model.normal.is_empty() && model.low.is_empty());
        prop_assert!(take(&queue, 1).is_none());
    }

    #[test]
    fn however_many_low_items_come_normal_ones_have_half_of_the_queue(
        capacity in 2..40_usize,
        flood in 1..80_usize,
    ) {
        let queue = Queue::new(capacity);
        for item in 0..flood {
            if let Ok(room) = queue.try_room(Priority::Low) {
                queue.push(item, Priority::Low, room);
            }
        }
        let low = queue.len();
        prop_assert_eq!(low, flood.min(capacity / 2));
        for item in low..capacity {
            let room = queue.try_room(Priority::Normal);
            prop_assert!(room.is_ok());
            queue.push(item, Priority::Normal, room.unwrap());
        }
        let full = NoRoom::Full { capacity };
        prop_assert_eq!(queue.try_room(Priority::Normal).err(), Some(full));
    }
}
