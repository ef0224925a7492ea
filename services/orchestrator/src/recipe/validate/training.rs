//! The rules of `[training]`: sizes of models, and settings.

use super::{Checked, require, within};
use crate::recipe::{Architecture, Head, Kind, Model, Settings};

impl Model {
    pub(super) fn validate(&self, key: &str) -> Checked {
        let architecture = format!("{key}.architecture");
        match self.kind {
            Kind::Vit => self.architecture.validate(&architecture)?,
            Kind::Resnet => self.architecture.validate_resnet(&architecture)?,
        }
        self.settings.validate(&format!("{key}.settings"))
    }
}

impl Architecture {
    fn validate(&self, key: &str) -> Checked {
        within(&format!("{key}.image_size"), self.image_size, 16..=1_024)?;
        within(
            &format!("{key}.patch_size"),
            self.patch_size,
            2..=self.image_size,
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
            within(&format!("{key}.head_hidden_size"), width, 8..=16_384)?;
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
        within(&format!("{key}.batch_size"), self.batch_size, 1..=4_096)?;
        within(
            &format!("{key}.learning_rate"),
            self.learning_rate,
            1e-8..=10.0,
        )?;
        within(&format!("{key}.weight_decay"), self.weight_decay, 0.0..=1.0)?;
        within(&format!("{key}.warmup"), self.warmup, 0.0..=1.0)?;
        within(
            &format!("{key}.label_smoothing"),
            self.label_smoothing,
            0.0..=0.9,
        )?;
        within(&format!("{key}.ema_decay"), self.ema_decay, 0.0..=0.99999)?;
        within(&format!("{key}.mixup"), self.mixup, 0.0..=10.0)?;
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
}
