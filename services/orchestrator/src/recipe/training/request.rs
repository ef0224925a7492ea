//! A recipe's models as the trainer is asked for them.

use saga_proto::trainer::v1 as proto;

use super::{Architecture, Head, Kind, Loss, Sampling, Settings};

/// Where a recipe says nothing.
const USUAL_HEAD_HIDDEN_SIZE: u32 = 512;

impl From<Kind> for proto::ModelKind {
    fn from(of: Kind) -> Self {
        match of {
            Kind::Vit => Self::VitClassifier,
            Kind::Resnet => Self::ResnetClassifier,
        }
    }
}

impl From<&Architecture> for proto::Architecture {
    fn from(of: &Architecture) -> Self {
        let (head, head_hidden_size) = match of.head {
            Head::Linear => (proto::HeadKind::Linear, 0),
            Head::Mlp => (
                proto::HeadKind::Mlp,
                of.head_hidden_size.unwrap_or(USUAL_HEAD_HIDDEN_SIZE),
            ),
        };
        Self {
            image_size: of.image_size,
            patch_size: of.patch_size,
            hidden_size: of.hidden_size,
            num_hidden_layers: of.num_hidden_layers,
            num_attention_heads: of.num_attention_heads,
            intermediate_size: of.intermediate_size,
            head: head.into(),
            head_hidden_size,
            drop_path: of.drop_path,
        }
    }
}

impl From<&Settings> for proto::TrainingSettings {
    fn from(of: &Settings) -> Self {
        let sampling = match of.sampling {
            Sampling::Plain => proto::Sampling::Plain,
            Sampling::Balanced => proto::Sampling::Balanced,
        };
        let loss = match of.loss {
            Loss::CrossEntropy => proto::Loss::CrossEntropy,
            Loss::Focal => proto::Loss::Focal,
            Loss::Ldam => proto::Loss::Ldam,
        };
        Self {
            steps: of.steps,
            epochs: 0,
            batch_size: of.batch_size,
            learning_rate: of.learning_rate,
            weight_decay: of.weight_decay,
            warmup: of.warmup,
            label_smoothing: of.label_smoothing,
            ema_decay: of.ema_decay,
            sampling: sampling.into(),
            class_weights: of.class_weights,
            mixup: of.mixup.unwrap_or_default(),
            augment: of.augment,
            gradient_clip: of.gradient_clip,
            patience: of.patience,
            accumulation: of.accumulation,
            head_warmup: of.head_warmup,
            layer_decay: of.layer_decay,
            loss: loss.into(),
            focal_gamma: of.focal_gamma,
            ldam_margin: of.ldam_margin,
            class_weights_from: of.class_weights_from,
            cutmix: of.cutmix,
            randaugment_operations: of.randaugment_operations,
            randaugment_magnitude: of.randaugment_magnitude,
            random_erasing: of.random_erasing,
            oversampling_limit: of.oversampling_limit,
            logit_adjustment: of.logit_adjustment,
            synthetic_weight: of.synthetic_weight,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(more: &str) -> proto::TrainingSettings {
        let text = format!("steps = 7\nbatch_size = 4\nlearning_rate = 1e-3\n{more}");
        (&toml::from_str::<Settings>(&text).unwrap()).into()
    }

    fn head(more: &str) -> (proto::HeadKind, u32) {
        let text = format!("image_size = 32\nhidden_size = 16\nnum_hidden_layers = 1\n{more}");
        let sizes: proto::Architecture = (&toml::from_str::<Architecture>(&text).unwrap()).into();
        (sizes.head(), sizes.head_hidden_size)
    }

    #[test]
    fn what_a_recipe_leaves_out_changes_nothing() {
        let plain = proto::TrainingSettings {
            steps: 7,
            batch_size: 4,
            learning_rate: 1e-3,
            sampling: proto::Sampling::Plain.into(),
            accumulation: 1,
            layer_decay: 1.0,
            loss: proto::Loss::CrossEntropy.into(),
            focal_gamma: 2.0,
            ldam_margin: 15.0,
            randaugment_magnitude: 9,
            synthetic_weight: 1.0,
            ..proto::TrainingSettings::default()
        };
        assert_eq!(settings(""), plain);
        assert_eq!(head(""), (proto::HeadKind::Linear, 0));
    }

    #[test]
    fn an_mlp_head_has_a_usual_width() {
        assert_eq!(head("head = \"mlp\""), (proto::HeadKind::Mlp, 512));
        let narrow = "head = \"mlp\"\nhead_hidden_size = 64";
        assert_eq!(head(narrow), (proto::HeadKind::Mlp, 64));
    }

    /// Every setting has a value of its own, so that none can come where another belongs.
    #[test]
    fn a_request_says_what_the_recipe_says() {
        let found = settings(
            "weight_decay = 0.01\nwarmup = 0.02\nlabel_smoothing = 0.03\nema_decay = 0.04\nsampling = \"balanced\"\n\
             class_weights = true\nmixup = 0.05\naugment = true\ngradient_clip = 0.06\npatience = 11\naccumulation = 12\n\
             head_warmup = 0.07\nlayer_decay = 0.08\nloss = \"focal\"\nfocal_gamma = 0.09\nldam_margin = 0.1\n\
             class_weights_from = 0.11\ncutmix = 0.12\nrandaugment_operations = 13\nrandaugment_magnitude = 14\n\
             random_erasing = 0.13\noversampling_limit = 15\nlogit_adjustment = 0.14\nsynthetic_weight = 0.15",
        );
        let wanted = proto::TrainingSettings {
            steps: 7,
            epochs: 0,
            batch_size: 4,
            learning_rate: 1e-3,
            weight_decay: 0.01,
            warmup: 0.02,
            label_smoothing: 0.03,
            ema_decay: 0.04,
            sampling: proto::Sampling::Balanced.into(),
            class_weights: true,
            mixup: 0.05,
            augment: true,
            gradient_clip: 0.06,
            patience: 11,
            accumulation: 12,
            head_warmup: 0.07,
            layer_decay: 0.08,
            loss: proto::Loss::Focal.into(),
            focal_gamma: 0.09,
            ldam_margin: 0.1,
            class_weights_from: 0.11,
            cutmix: 0.12,
            randaugment_operations: 13,
            randaugment_magnitude: 14,
            random_erasing: 0.13,
            oversampling_limit: 15,
            logit_adjustment: 0.14,
            synthetic_weight: 0.15,
        };
        assert_eq!(found, wanted);
        assert_eq!(settings("loss = \"ldam\"").loss(), proto::Loss::Ldam);
    }
}
