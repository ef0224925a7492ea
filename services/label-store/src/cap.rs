//! How many synthetic images a class may get.

/// The largest number of synthetic images that keeps their share of the class within `fraction` (0 to 0.95) and the
/// class no larger than `size`: that of the largest class of real images, or the class's share of a total.
pub fn cap(real: u32, fraction: f64, size: u32) -> u32 {
    // synthetic / (real + synthetic) <= fraction. The addend keeps 10 * 0.6 / 0.4 at 15.
    let by_share = (f64::from(real) * fraction / (1.0 - fraction) + 1e-9).floor();
    size.saturating_sub(real).min(by_share as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::cap;

    #[test]
    fn round_fractions_are_not_cut_by_rounding() {
        assert_eq!(cap(10, 0.6, 1_000), 15);
        assert_eq!(cap(6, 0.6, 2_400), 9);
        assert_eq!(cap(100, 0.5, 1_000), 100);
    }

    #[test]
    fn the_largest_class_gets_nothing_and_no_class_outgrows_it() {
        assert_eq!(cap(1_000, 0.6, 1_000), 0);
        assert_eq!(cap(900, 0.6, 1_000), 100);
        assert_eq!(cap(0, 0.6, 1_000), 0);
    }

    proptest! {
        #[test]
        fn the_cap_is_the_largest_number_that_is_allowed(
            real in 0u32..100_000, fraction in 0.0..=0.95f64, largest in 0u32..100_000
        ) {
            let share = |n: u32| f64::from(n) / f64::from(real + n).max(1.0);
            let cap = cap(real, fraction, largest);
            prop_assert!(share(cap) <= fraction + 1e-9);
            prop_assert!(cap == 0 || real + cap <= largest);
            prop_assert!(share(cap + 1) > fraction - 1e-9 || real + cap >= largest);
        }
    }
}
