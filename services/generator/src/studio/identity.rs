//! Who is shown: everything about a face that an edit of its expression must leave alone.

use super::colour::{Rgb, mixed};
use super::rng::Rng;

/// Everything that makes one person, drawn from one seed.
///
/// Lengths are in head units: the face reaches from about -0.85 (hairline) to 1 (chin), the eyes lie near -0.13.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The seed all else follows from.
    pub seed: u64,
    pub(crate) face: FaceShape,
    pub(crate) skin: Skin,
    pub(crate) eyes: Eyes,
    pub(crate) brows: Brows,
    pub(crate) nose: Nose,
    pub(crate) mouth: Mouth,
    pub(crate) hair: Hair,
    pub(crate) beard: Beard,
    pub(crate) glasses: Option<Glasses>,
    /// 0: young adult, 1: old.
    pub(crate) age: f32,
    pub(crate) clothing: Clothing,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FaceShape {
    pub(crate) width: f32,
    /// Width of the jaw as a share of the cheekbones'.
    pub(crate) jaw: f32,
    pub(crate) chin: f32,
    pub(crate) length: f32,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Skin {
    pub(crate) colour: Rgb,
    pub(crate) blush: f32,
    pub(crate) freckles: bool,
    /// Position of a mole, if there is one.
    pub(crate) mole: Option<(f32, f32)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Eyes {
    pub(crate) spacing: f32,
    pub(crate) height: f32,
    pub(crate) size: f32,
    pub(crate) openness: f32,
    /// How much higher the outer corner is than the inner.
    pub(crate) tilt: f32,
    pub(crate) iris: Rgb,
    pub(crate) lashes: f32,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Brows {
    pub(crate) lift: f32,
    pub(crate) thickness: f32,
    pub(crate) arch: f32,
    pub(crate) tilt: f32,
    pub(crate) colour: Rgb,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Nose {
    pub(crate) length: f32,
    pub(crate) width: f32,
    pub(crate) relief: f32,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mouth {
    pub(crate) height: f32,
    pub(crate) width: f32,
    pub(crate) upper: f32,
    pub(crate) lower: f32,
    pub(crate) colour: Rgb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HairStyle {
    Shaved,
    Receding,
    Short,
    Parted,
    Fringe,
    Curly,
    Bob,
    Long,
    TiedBack,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hair {
    pub(crate) style: HairStyle,
    pub(crate) colour: Rgb,
    pub(crate) volume: f32,
    pub(crate) hairline: f32,
    /// -1: parted at the left, 1: at the right.
    pub(crate) parting: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beard {
    None,
    Stubble,
    Moustache,
    Full,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Glasses {
    pub(crate) colour: Rgb,
    pub(crate) round: f32,
    pub(crate) thickness: f32,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Clothing {
    pub(crate) colour: Rgb,
    pub(crate) trim: Rgb,
    /// 0: round neck, 1: V-neck, 2: collar.
    pub(crate) cut: usize,
}

impl Identity {
    /// The person of a seed.
    pub fn from_seed(seed: u64) -> Self {
        let rng = &mut Rng::new(seed, "identity");
        let feminine = rng.chance(0.5);
        let age = rng.unit().powf(1.4);
        let skin = Skin::sample(rng);
        let hair = Hair::sample(rng, feminine, age, &skin);
        Self {
            seed,
            face: FaceShape {
                width: rng
                    .normal(if feminine { 0.70 } else { 0.735 }, 0.025)
                    .clamp(0.64, 0.80),
                jaw: rng
                    .normal(if feminine { 0.83 } else { 0.90 }, 0.035)
                    .clamp(0.76, 0.97),
                chin: rng
                    .normal(if feminine { 0.29 } else { 0.37 }, 0.04)
                    .clamp(0.2, 0.46),
                length: rng.normal(1.0, 0.035).clamp(0.92, 1.08),
            },
            eyes: Eyes::sample(rng, feminine, &skin),
            brows: Brows::sample(rng, feminine, age, &hair, &skin),
            nose: Nose {
                length: rng.normal(1.0, 0.08).clamp(0.85, 1.18),
                width: rng
                    .normal(if feminine { 0.125 } else { 0.145 }, 0.016)
                    .clamp(0.095, 0.185),
                relief: rng.range(0.6, 1.2),
            },
            mouth: Mouth::sample(rng, feminine, &skin),
            beard: if feminine {
                Beard::None
            } else {
                rng.weighted([
                    (Beard::None, 5.0),
                    (Beard::Stubble, 2.0),
                    (Beard::Moustache, 0.7),
                    (Beard::Full, 1.5),
                ])
            },
            glasses: rng.chance(0.14 + 0.1 * age).then(|| Glasses::sample(rng)),
            clothing: Clothing::sample(rng),
            age,
            skin,
            hair,
        }
    }
}

impl Skin {
    fn sample(rng: &mut Rng) -> Self {
        // Light to dark; the tones between are mixtures of neighbours.
        const TONES: [Rgb; 6] = [
            [236.0, 198.0, 176.0],
            [224.0, 180.0, 150.0],
            [206.0, 158.0, 124.0],
            [178.0, 128.0, 94.0],
            [156.0, 112.0, 84.0],
            [136.0, 97.0, 74.0],
        ];
        let place = rng.unit() * (TONES.len() - 1) as f32;
        let index = (place as usize).min(TONES.len() - 2);
        let colour = mixed(TONES[index], TONES[index + 1], place - index as f32);
        let fair = place < 1.6;
        Self {
            colour: colour.map(|channel| channel + rng.normal(0.0, 2.5)),
            blush: rng.range(0.05, 0.22),
            freckles: fair && rng.chance(0.15),
            mole: rng
                .chance(0.18)
                .then(|| (rng.range(-0.5, 0.5), rng.range(0.15, 0.75))),
        }
    }
}

impl Eyes {
    fn sample(rng: &mut Rng, feminine: bool, skin: &Skin) -> Self {
        let fair = if skin.colour[0] < 185.0 { 0.06 } else { 1.0 };
        let iris = rng.weighted([
            ([74.0, 46.0, 28.0], 5.0),
            ([104.0, 70.0, 36.0], 2.0),
            ([92.0, 100.0, 62.0], 1.2 * fair),
            ([84.0, 112.0, 140.0], 1.6 * fair),
            ([104.0, 116.0, 118.0], 0.8 * fair),
        ]);
        Self {
            spacing: rng.normal(0.315, 0.014).clamp(0.28, 0.35),
            height: rng.normal(-0.13, 0.018).clamp(-0.17, -0.09),
            size: rng
                .normal(if feminine { 1.07 } else { 1.0 }, 0.06)
                .clamp(0.88, 1.22),
            openness: rng.normal(1.0, 0.10).clamp(0.78, 1.22),
            tilt: rng.normal(0.012, 0.012).clamp(-0.02, 0.04),
            iris: iris.map(|channel: f32| channel + rng.normal(0.0, 5.0)),
            lashes: rng.range(0.3, if feminine { 1.0 } else { 0.5 }),
        }
    }
}

impl Brows {
    fn sample(rng: &mut Rng, feminine: bool, age: f32, hair: &Hair, skin: &Skin) -> Self {
        let greying = if age > 0.75 { 0.3 } else { 0.0 };
        // Brows stay darker than the skin around them.
        let dark = [0, 1, 2].map(|channel| {
            (hair.colour[channel] * 0.62)
                .min(skin.colour[channel] * 0.45)
                .max(22.0)
        });
        Self {
            lift: rng.normal(0.235, 0.016).clamp(0.2, 0.275),
            thickness: rng
                .normal(if feminine { 0.036 } else { 0.050 }, 0.007)
                .clamp(0.024, 0.068),
            arch: rng.range(0.015, if feminine { 0.065 } else { 0.045 }),
            tilt: rng.normal(0.0, 0.015).clamp(-0.03, 0.03),
            colour: mixed(dark, skin.colour, greying),
        }
    }
}

impl Mouth {
    fn sample(rng: &mut Rng, feminine: bool, skin: &Skin) -> Self {
        let lipstick = feminine && rng.chance(0.4);
        let natural = [
            skin.colour[0] * 0.80 + 12.0,
            skin.colour[1] * 0.60 + 8.0,
            skin.colour[2] * 0.62 + 10.0,
        ];
        let painted = rng.weighted([
            ([168.0, 44.0, 56.0], 1.0),
            ([186.0, 84.0, 96.0], 1.0),
            ([132.0, 40.0, 58.0], 0.6),
        ]);
        Self {
            height: rng.normal(0.545, 0.018).clamp(0.5, 0.59),
            width: rng.normal(0.255, 0.018).clamp(0.21, 0.3),
            upper: rng
                .normal(if feminine { 1.1 } else { 0.9 }, 0.16)
                .clamp(0.55, 1.45),
            lower: rng
                .normal(if feminine { 1.1 } else { 0.95 }, 0.14)
                .clamp(0.6, 1.45),
            colour: if lipstick {
                mixed(natural, painted, rng.range(0.5, 0.9))
            } else {
                natural
            },
        }
    }
}

impl Hair {
    fn sample(rng: &mut Rng, feminine: bool, age: f32, skin: &Skin) -> Self {
        use HairStyle::{Bob, Curly, Fringe, Long, Parted, Receding, Shaved, Short, TiedBack};
        let style = if feminine {
            rng.weighted([
                (Parted, 0.6),
                (Fringe, 1.3),
                (Curly, 1.2),
                (Bob, 1.8),
                (Long, 2.6),
                (TiedBack, 1.4),
                (Short, 0.3),
            ])
        } else {
            let lost = 0.3 + 1.6 * age;
            rng.weighted([
                (Shaved, 0.7),
                (Receding, lost),
                (Short, 3.0),
                (Parted, 1.8),
                (Fringe, 0.8),
                (Curly, 1.0),
                (Long, 0.3),
            ])
        };
        let dark_skin = skin.colour[0] < 165.0;
        let fair = if dark_skin { 0.05 } else { 1.0 };
        let natural = rng.weighted([
            ([34.0, 29.0, 28.0], 3.0),
            ([66.0, 44.0, 32.0], 2.6),
            ([106.0, 72.0, 46.0], 2.0 * fair),
            ([190.0, 150.0, 96.0], 1.3 * fair),
            ([142.0, 72.0, 40.0], 0.6 * fair),
        ]);
        let grey = if age > 0.6 { rng.range(0.0, 1.0) } else { 0.0 };
        Self {
            style,
            colour: mixed(
                natural.map(|channel: f32| channel + rng.normal(0.0, 4.0)),
                [176.0, 174.0, 172.0],
                grey,
            ),
            volume: rng.range(0.0, 1.0),
            hairline: rng.normal(-0.74, 0.04).clamp(-0.84, -0.64),
            parting: if rng.chance(0.5) {
                rng.range(0.3, 0.8)
            } else {
                rng.range(-0.8, -0.3)
            },
        }
    }
}

impl Glasses {
    fn sample(rng: &mut Rng) -> Self {
        Self {
            colour: rng.weighted([
                ([40.0, 36.0, 36.0], 3.0),
                ([120.0, 92.0, 58.0], 1.0),
                ([110.0, 112.0, 120.0], 1.5),
                ([70.0, 40.0, 36.0], 1.0),
            ]),
            round: rng.range(0.0, 1.0),
            thickness: rng.range(0.008, 0.02),
        }
    }
}

impl Clothing {
    fn sample(rng: &mut Rng) -> Self {
        let base = rng.range(45.0, 190.0);
        let colour = [0, 1, 2].map(|_| (base + rng.normal(0.0, 32.0)).clamp(30.0, 215.0));
        let trim = if rng.chance(0.5) {
            colour.map(|channel| channel * 0.7)
        } else {
            [205.0, 205.0, 200.0]
        };
        Self {
            colour,
            trim,
            cut: rng.below(3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_person() {
        assert_eq!(Identity::from_seed(11), Identity::from_seed(11));
        let mut other = Identity::from_seed(12);
        other.seed = 11;
        assert_ne!(Identity::from_seed(11), other);
    }

    #[test]
    fn glasses_beards_and_styles_all_occur() {
        let people: Vec<Identity> = (0..400).map(Identity::from_seed).collect();
        let glasses = people
            .iter()
            .filter(|person| person.glasses.is_some())
            .count();
        assert!((40..140).contains(&glasses), "{glasses}");
        for style in [
            HairStyle::Shaved,
            HairStyle::Long,
            HairStyle::Curly,
            HairStyle::TiedBack,
        ] {
            assert!(
                people.iter().any(|person| person.hair.style == style),
                "{style:?}"
            );
        }
        assert!(people.iter().any(|person| person.beard == Beard::Full));
    }
}
