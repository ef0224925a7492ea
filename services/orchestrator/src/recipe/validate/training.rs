//! The rules of `[training]`: sizes of models, and settings.

use super::{Checked, invalid, require, within};
use crate::recipe::{Architecture, Head, Kind, Loss, Model, Settings};

impl Model {
    pub(super) fn validate(&self, key: &str) -> Checked {
        let architecture = format!("{key}.architecture");
        match self.kind {
            Kind::Vit => self.architecture.validate(&architecture)?,
            Kind::Resnet => self.architecture.validate_resnet(&architecture)?,
        }
        self.settings.validate(&format!("{key}.settings"))
    }

    /// A CLIP model, which has neither what one kind of classifier has nor what all of them have.
    pub(super) fn validate_clip(&self, key: &str) -> Checked {
        require(
            self.kind == Kind::Vit,
            &format!("{key}.kind"),
            "must be \"vit\": both towers of CLIP are transformers",
        )?;
        let sizes = &self.architecture;
        require(
            (sizes.head, sizes.head_hidden_size) == (Head::Linear, None) && sizes.drop_path == 0.0,
            &format!("{key}.architecture"),
            "head, head_hidden_size and drop_path are of classifiers; leave them out",
        )?;
        self.settings.of_no_classifier(&format!("{key}.settings"))?;
        self.validate(key)
    }
}

impl Architecture {
    fn validate(&self, key: &str) -> Checked {
        within(&format!("{key}.image_size"), self.image_size, 8..=1_024)?;
        within(
            &format!("{key}.patch_size"),
            self.patch_size,
            1..=self.image_size,
        )?;
        let whole = self.image_size.is_multiple_of(self.patch_size);
        require(
            whole,
            &format!("{key}.patch_size"),
            &format!(
                "{} does not divide image_size {}",
                self.patch_size, self.image_size
            ),
        )?;
        within(
            &format!("{key}.num_attention_heads"),
            self.num_attention_heads,
            1..=64,
        )?;
        within(&format!("{key}.hidden_size"), self.hidden_size, 8..=4_096)?;
        let whole = self.hidden_size.is_multiple_of(self.num_attention_heads);
        require(
            whole,
            &format!("{key}.hidden_size"),
            &format!(
                "{} is no multiple of num_attention_heads {}",
                self.hidden_size, self.num_attention_heads
            ),
        )?;
        within(
            &format!("{key}.num_hidden_layers"),
            self.num_hidden_layers,
            1..=64,
        )?;
        within(
            &format!("{key}.intermediate_size"),
            self.intermediate_size,
            8..=16_384,
        )?;
        if let Some(width) = self.head_hidden_size {
            within(&format!("{key}.head_hidden_size"), width, 1..=8_192)?;
        }
        within(&format!("{key}.drop_path"), self.drop_path, 0.0..=0.9)
    }

    fn validate_resnet(&self, key: &str) -> Checked {
        within(&format!("{key}.image_size"), self.image_size, 32..=1_024)?;
        within(&format!("{key}.hidden_size"), self.hidden_size, 32..=8_192)?;
        require(
            self.hidden_size.is_multiple_of(32),
            &format!("{key}.hidden_size"),
            &format!("{} is no multiple of 32", self.hidden_size),
        )?;
        require(
            [18, 34, 50, 101].contains(&self.num_hidden_layers),
            &format!("{key}.num_hidden_layers"),
            &format!(
                "{} is no ResNet's: 18, 34, 50 or 101",
                self.num_hidden_layers
            ),
        )?;
        let transformer = [
            self.patch_size,
            self.num_attention_heads,
            self.intermediate_size,
        ];
        require(
            transformer == [0; 3]
                && self.drop_path == 0.0
                && (self.head, self.head_hidden_size) == (Head::Linear, None),
            key,
            "patch_size, num_attention_heads, intermediate_size, head, head_hidden_size and drop_path are no ResNet's; leave them out",
        )
    }
}

impl Settings {
    pub(super) fn validate(&self, key: &str) -> Checked {
        within(&format!("{key}.steps"), self.steps, 1..=10_000_000)?;
        within(&format!("{key}.batch_size"), self.batch_size, 2..=4_096)?;
        within(
            &format!("{key}.learning_rate"),
            self.learning_rate,
            1e-9..=1.0,
        )?;
        within(
            &format!("{key}.weight_decay"),
            self.weight_decay,
            0.0..=10.0,
        )?;
        within(&format!("{key}.warmup"), self.warmup, 0.0..=1.0)?;
        within(
            &format!("{key}.label_smoothing"),
            self.label_smoothing,
            0.0..=0.9,
        )?;
        within(&format!("{key}.ema_decay"), self.ema_decay, 0.0..=0.999_999)?;
        within(
            &format!("{key}.gradient_clip"),
            self.gradient_clip,
            0.0..=1e6,
        )?;
        let numbers = [
            ("layer_decay", self.layer_decay, 0.01..=1.0),
            ("head_warmup", self.head_warmup, 0.0..=0.9),
            ("class_weights_from", self.class_weights_from, 0.0..=1.0),
            ("random_erasing", self.random_erasing, 0.0..=1.0),
            ("mixup", self.mixup.unwrap_or_default(), 0.0..=10.0),
            ("cutmix", self.cutmix, 0.0..=10.0),
            ("focal_gamma", self.focal_gamma, 0.0..=10.0),
            ("ldam_margin", self.ldam_margin, 0.0..=30.0),
            ("logit_adjustment", self.logit_adjustment, 0.0..=10.0),
            ("synthetic_weight", self.synthetic_weight, 0.01..=1.0),
        ];
        for (name, value, range) in numbers {
            within(&format!("{key}.{name}"), value, range)?;
        }
        let counts = [
            ("accumulation", self.accumulation, 1..=1_024),
            (
                "randaugment_operations",
                self.randaugment_operations,
                0..=14,
            ),
            ("randaugment_magnitude", self.randaugment_magnitude, 0..=30),
        ];
        for (name, value, range) in counts {
            within(&format!("{key}.{name}"), value, range)?;
        }
        Ok(())
    }

    /// Those of a model that is none of classes: nothing that weighs classes or blends their targets.
    pub(super) fn of_no_classifier(&self, key: &str) -> Checked {
        let given = [
            ("label_smoothing", self.label_smoothing != 0.0),
            ("mixup", self.mixup.is_some_and(|alpha| alpha != 0.0)),
            ("cutmix", self.cutmix != 0.0),
            ("class_weights", self.class_weights),
            ("logit_adjustment", self.logit_adjustment != 0.0),
            ("loss", self.loss != Loss::CrossEntropy),
            ("synthetic_weight", self.synthetic_weight != 1.0),
        ];
        left_out(key, &given, "is of classifiers; leave it out")
    }
}

/// Refuses the first key that is given.
pub(super) fn left_out(key: &str, given: &[(&str, bool)], why: &str) -> Checked {
    match given.iter().find(|(_, given)| *given) {
        Some((name, _)) => invalid(&format!("{key}.{name}"), why),
        None => Ok(()),
    }
}
