//! Items that wait in two levels, and the order in which they are taken.

use std::collections::VecDeque;

/// Which items go first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// Somebody waits for the answer.
    #[default]
    Normal,
    /// Work in bulk that gives way to normal items: it takes at most half of a queue.
    Low,
}

/// Of so many items taken in a row while low ones wait, one is low.
pub const LOW_EVERY: usize = 8;

/// First in, first out within a level; normal before low, except that at most `LOW_EVERY - 1` normal items in a row pass a
/// low one that waits. The n-th low item in line is thus taken after at most `n * (LOW_EVERY - 1)` normal ones.
#[derive(Debug)]
pub(crate) struct Levels<T> {
    normal: VecDeque<T>,
    low: VecDeque<T>,
    /// Normal items in a row that passed a low one.
    passed: usize,
}

impl<T> Levels<T> {
    pub(crate) fn new() -> Self {
        Self {
            normal: VecDeque::new(),
            low: VecDeque::new(),
            passed: 0,
        }
    }

    pub(crate) fn push(&mut self, item: T, priority: Priority) {
        match priority {
            Priority::Normal => self.normal.push_back(item),
            Priority::Low => self.low.push_back(item),
        }
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.normal.is_empty() || self.passed + 1 >= LOW_EVERY {
            self.passed = 0;
            if let Some(item) = self.low.pop_front() {
                return Some(item);
            }
        }
        self.passed = match self.low.is_empty() {
            true => 0,
            false => self.passed + 1,
        };
        self.normal.pop_front()
    }

    /// Drops the items that are not kept; the others keep their order.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.normal.retain(&mut keep);
        self.low.retain(keep);
    }

    /// Items that go before one of this priority that came now, those low ones aside that pass normal ones now and then.
    pub(crate) fn ahead(&self, priority: Priority) -> usize {
        match priority {
            Priority::Normal => self.normal.len(),
            Priority::Low => self.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.normal.len() + self.low.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_eight_is_low_while_both_wait() {
        let mut levels = Levels::new();
        (0..20).for_each(|item| levels.push(item, Priority::Normal));
        (100..104).for_each(|item| levels.push(item, Priority::Low));
        let taken: Vec<i32> = std::iter::from_fn(|| levels.pop()).collect();
        let expected: Vec<i32> = (0..7)
            .chain([100])
            .chain(7..14)
            .chain([101])
            .chain(14..20)
            .chain([102, 103])
            .collect();
        assert_eq!(taken, expected);
    }

    #[test]
    fn a_low_item_that_comes_late_is_passed_from_then_on() {
        let mut levels = Levels::new();
        (0..20).for_each(|item| levels.push(item, Priority::Normal));
        let before: Vec<_> = (0..10).filter_map(|_| levels.pop()).collect();
        assert_eq!(before.len(), 10);
        levels.push(100, Priority::Low);
        let position = std::iter::from_fn(|| levels.pop()).position(|item| item == 100);
        assert_eq!(position, Some(LOW_EVERY - 1));
    }
}
