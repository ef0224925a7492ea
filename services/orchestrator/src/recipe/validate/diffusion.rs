//! Rules of `[training.diffusion]`.

use super::{Checked, require, training::left_out, within};
use crate::recipe::Diffusion;

impl Diffusion {
    pub(super) fn validate(&self, key: &str) -> Checked {
        let sizes = &self.architecture;
        let architecture = |name: &str| format!("{key}.architecture.{name}");
        within(&architecture("image_size"), sizes.image_size, 8..=128)?;
        within(&architecture("hidden_size"), sizes.hidden_size, 8..=512)?;
        within(
            &architecture("num_hidden_layers"),
            sizes.num_hidden_layers,
            1..=4,
        )?;
        for (name, size, unit) in [
            ("image_size", sizes.image_size, 4),
            ("hidden_size", sizes.hidden_size, 8),
        ] {
            let why = format!("{size} is no multiple of {unit}");
            require(size.is_multiple_of(unit), &architecture(name), &why)?;
        }
        within(
            &format!("{key}.min_snr_gamma"),
            self.min_snr_gamma,
            0.0..=1_000.0,
        )?;
        let (key, settings) = (format!("{key}.settings"), &self.settings);
        settings.of_no_classifier(&key)?;
        let staged = [
            ("head_warmup", settings.head_warmup != 0.0),
            ("layer_decay", settings.layer_decay != 1.0),
        ];
        left_out(
            &key,
            &staged,
            "is of models with a head on a backbone; leave it out",
        )?;
        settings.validate(&key)
    }
}

#[cfg(test)]
mod tests {
    use crate::recipe::Diffusion;

    #[test]
    fn sizes_that_cannot_be_name_their_key() {
        let refused = |changes: &[(&str, &str)]| {
            let text = changes.iter().fold(
                "architecture = { image_size = 32, hidden_size = 16, num_hidden_layers = 1 }\n\
                 settings = { steps = 1, batch_size = 2, learning_rate = 1e-3 }"
                    .to_owned(),
                |text, (from, to)| text.replace(from, to),
            );
            let diffusion: Diffusion = toml::from_str(&text).unwrap();
            let checked = diffusion.validate("training.diffusion");
            checked.err().map(|error| error.key().to_owned())
        };
        assert_eq!(refused(&[]), None);
        for (from, to, key) in [
            (
                "image_size = 32",
                "image_size = 34",
                "architecture.image_size",
            ),
            (
                "image_size = 32",
                "image_size = 256",
                "architecture.image_size",
            ),
            (
                "hidden_size = 16",
                "hidden_size = 12",
                "architecture.hidden_size",
            ),
            (
                "settings",
                "min_snr_gamma = -5.0\nsettings",
                "min_snr_gamma",
            ),
            ("layers = 1", "layers = 9", "architecture.num_hidden_layers"),
            ("steps = 1", "mixup = 0.2, steps = 1", "settings.mixup"),
            (
                "steps = 1",
                "head_warmup = 0.1, steps = 1",
                "settings.head_warmup",
            ),
            (
                "steps = 1",
                "layer_decay = 0.75, steps = 1",
                "settings.layer_decay",
            ),
            ("batch_size = 2", "batch_size = 1", "settings.batch_size"),
            ("steps = 1", "steps = 0", "settings.steps"),
        ] {
            let found = refused(&[(from, to)]);
            assert_eq!(found, Some(format!("training.diffusion.{key}")));
        }
    }
}
