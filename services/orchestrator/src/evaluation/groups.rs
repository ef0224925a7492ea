//! Many, medium and few: classes by their real train images, split where Liu et al. (2019, <https://arxiv.org/abs/1904.05160>)
//! split them.

use serde::{Deserialize, Serialize};

/// The rule in words.
pub const RULE: &str =
    "by real train images of the class: many above 100, medium 20 to 100, few below 20";

/// How common a class is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// More than 100 images.
    Many,
    /// 20 to 100.
    Medium,
    /// Fewer than 20.
    Few,
}

impl Group {
    /// All of them, largest first.
    pub const ALL: [Self; 3] = [Self::Many, Self::Medium, Self::Few];

    /// The group of a class with this many real train images.
    pub fn of(images: usize) -> Self {
        match images {
            0..20 => Self::Few,
            20..=100 => Self::Medium,
            _ => Self::Many,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_as_the_rule_says() {
        let groups = [19, 20, 100, 101].map(Group::of);
        assert_eq!(
            groups,
            [Group::Few, Group::Medium, Group::Medium, Group::Many]
        );
    }
}
