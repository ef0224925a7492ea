//! Recipes that are refused, and why.

use super::*;

const EMOTION: &str = include_str!("../../../recipes/emotion.toml");

/// The emotion recipe with one piece of text replaced.
fn broken(from: &str, to: &str) -> String {
    assert!(EMOTION.contains(from), "{from}");
    Recipe::parse(&EMOTION.replacen(from, to, 1))
        .unwrap_err()
        .to_string()
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let error = broken("golden_fraction = 0.25", "golden_fration = 0.25");
    assert!(
        error.contains("golden_fration") && error.contains("line "),
        "{error}"
    );
}

#[test]
fn values_out_of_range_name_key_value_and_range() {
    let cases = [
        (
            "{ min = 0.22 }",
            "{ min = 1.22 }",
            "gates[1].thresholds.min is 1.22; allowed is -1 to 1",
        ),
        (
            "max_synthetic_fraction = 0.85",
            "max_synthetic_fraction = 1.0",
            "plan.max_synthetic_fraction is 1; allowed is 0 to 0.95",
        ),
        (
            "val_fraction = 0.12",
            "val_fraction = nan",
            "split.val_fraction is NaN; allowed is 0 to 0.5",
        ),
        (
            "in_flight = 8",
            "in_flight = 0",
            "plan.in_flight is 0; allowed is 1 to 1000",
        ),
        (
            "max_phash_distance = 4",
            "max_phash_distance = 5",
            "plan.max_phash_distance is 5; allowed is 0 to 4",
        ),
        (
            "max_phash_distance = 4",
            "max_clip_cosine = 1.5",
            "plan.max_clip_cosine is 1.5; allowed is -1 to 1",
        ),
        (
            "backend = \"exemplar\"",
            "backend = \"exemplar\"\n[normalisation]\nsize = 8",
            "normalisation.size is 8; allowed is 16 to 4096",
        ),
        (
            "cap = \"largest\"",
            "cap = { total = 0 }",
            "plan.cap.total is 0; allowed is 1 to 1000000000",
        ),
        (
            "steps = 1800",
            "steps = 0",
            "training.classifier.settings.steps is 0",
        ),
        (
            "steps = 1800",
            "steps = 600, layer_decay = 0.0",
            "training.classifier.settings.layer_decay is 0; allowed is 0.01 to 1",
        ),
        (
            "steps = 1800",
            "steps = 600, synthetic_weight = 0.0",
            "training.classifier.settings.synthetic_weight is 0; allowed is 0.01 to 1",
        ),
    ];
    for (from, to, expected) in cases {
        let error = broken(from, to);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    let cases = [
        (
            "min = 0.35, max = 0.95",
            "min = 0.95, max = 0.35",
            "min 0.95 is above max 0.35",
        ),
        (
            "patch_size = 8",
            "patch_size = 7",
            "7 does not divide image_size 64",
        ),
        (
            "num_hidden_layers = 18",
            "num_hidden_layers = 4",
            "4 is no ResNet's: 18, 34, 50 or 101",
        ),
        (
            "[training.clip]",
            "[training.clip]\nkind = \"resnet\"",
            "training.clip.kind: must be \"vit\"",
        ),
        (
            "num_attention_heads = 4",
            "num_attention_heads = 3",
            "no multiple of num_attention_heads 3",
        ),
        (
            "\"happy\", \"sad\"",
            "\"sad\", \"sad\"",
            "\"sad\" is there twice",
        ),
        (
            "backend = \"exemplar\"",
            "backend = \"\"",
            "generator.backend: \"\" is no name",
        ),
        (
            "backend = \"exemplar\"",
            "backend = \"exemplar\"\n[[generator.backends]]\nname = \"studio\"",
            "generator: names one backend and several",
        ),
        (
            "backend = \"exemplar\"",
            "backends = [{ name = \"studio\" }, { name = \"studio\" }]",
            "generator.backends[1].name: \"studio\" is there twice",
        ),
        ("a {label} face", "a face", "has no {label}"),
        (
            "sad = [",
            "gloomy = [",
            "prompts.texts.gloomy: is no class of the recipe",
        ),
        (
            "\"a portrait of a sad person\"",
            "\" \"",
            "prompts.texts.sad: has an empty text",
        ),
        (
            "a sad face with",
            "a sad {age} face with",
            "has the placeholder {age}; known are: label",
        ),
        (
            "soft window light",
            "soft {window light",
            "opens a placeholder and does not close it",
        ),
        (
            "[prompts.texts]",
            "[prompts.axes]\nage = []\n[prompts.texts]",
            "prompts.axes.age: has an empty value",
        ),
        (
            "[prompts.texts]",
            "[prompts.axes]\nlabel = [\"x\"]\n[prompts.texts]",
            "prompts.axes.label: has the name of the class's placeholder",
        ),
        (
            "[prompts.texts]",
            "[prompts.axes]\nage = [\"{label}\"]\n[prompts.texts]",
            "prompts.axes.age: has a value with a placeholder",
        ),
        (
            "name = \"vit\"",
            "name = \"clip\"",
            "\"clip\" is there twice",
        ),
        ("name = \"vit\"", "name = \"error\"", "word of the funnel"),
        (
            "max_bad_accepts = 0.1",
            "max_bad_accepts = 0.0",
            "calibration.max_bad_accepts: is 0",
        ),
        (
            "confidence = 0.9",
            "confidence = 1.0",
            "calibration.confidence: is 1",
        ),
        (
            "calibration_fraction = 0.08",
            "calibration_fraction = 0.0",
            "split.calibration_fraction: is 0 and [calibration] is there",
        ),
    ];
    for (from, to, expected) in cases {
        let error = broken(from, to);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_resnet_has_no_head_to_choose() {
    for head in ["head = \"mlp\"", "head_hidden_size = 512"] {
        let layers = "num_hidden_layers = 18";
        let error = broken(layers, &format!("{layers}, {head}"));
        assert!(error.contains("head_hidden_size and drop_path"), "{error}");
    }
}

/// The trainer's own ranges: what it refuses must not wait until it is asked.
#[test]
fn a_setting_out_of_the_trainers_range_is_refused_and_its_bounds_are_not() {
    let with = |setting: &str| {
        let mut recipe: toml::Table = toml::from_str(EMOTION).unwrap();
        let setting: toml::Table = toml::from_str(setting).unwrap();
        let settings = recipe["training"]["classifier"]["settings"].as_table_mut();
        settings.unwrap().extend(setting);
        Recipe::parse(&toml::to_string(&recipe).unwrap())
    };
    for (name, lowest, highest, refused) in [
        ("batch_size", "2", "4096", ["1", "4097"]),
        ("learning_rate", "1e-9", "1.0", ["0.9e-9", "1.001"]),
        ("weight_decay", "0.0", "10.0", ["-0.001", "10.001"]),
        ("warmup", "0.0", "1.0", ["-0.001", "1.001"]),
        ("label_smoothing", "0.0", "0.9", ["-0.001", "0.901"]),
        ("ema_decay", "0.0", "0.999999", ["-0.001", "1.0"]),
        ("mixup", "0.0", "10.0", ["-0.001", "10.001"]),
        ("cutmix", "0.0", "10.0", ["-0.001", "10.001"]),
        ("gradient_clip", "0.0", "1e6", ["-0.001", "1e7"]),
        ("accumulation", "1", "1024", ["0", "1025"]),
        ("head_warmup", "0.0", "0.9", ["-0.001", "0.901"]),
        ("layer_decay", "0.01", "1.0", ["0.009", "1.001"]),
        ("focal_gamma", "0.0", "10.0", ["-0.001", "10.001"]),
        ("ldam_margin", "0.0", "30.0", ["-0.001", "30.001"]),
        ("class_weights_from", "0.0", "1.0", ["-0.001", "1.001"]),
        ("randaugment_operations", "0", "14", ["15", "16"]),
        ("randaugment_magnitude", "0", "30", ["31", "32"]),
        ("random_erasing", "0.0", "1.0", ["-0.001", "1.001"]),
        ("logit_adjustment", "0.0", "10.0", ["-0.001", "10.001"]),
        ("synthetic_weight", "0.01", "1.0", ["0.009", "1.001"]),
    ] {
        for value in [lowest, highest] {
            let parsed = with(&format!("{name} = {value}"));
            assert!(parsed.is_ok(), "{name} = {value}: {parsed:?}");
        }
        for value in refused {
            let said = with(&format!("{name} = {value}")).unwrap_err().to_string();
            let wanted = format!("recipe key training.classifier.settings.{name} is ");
            assert!(said.starts_with(&wanted), "{name} = {value}: {said}");
        }
    }
}

#[test]
fn sizes_of_transformers_have_the_trainers_ranges() {
    let layers = "num_hidden_layers = 3";
    let clip = |from: &str, to: &str| {
        assert!(EMOTION.contains(from), "{from}");
        Recipe::parse(&EMOTION.replacen(from, to, 1))
    };
    let sizes = "image_size = 64, patch_size = 8, hidden_size = 128";
    assert!(clip(sizes, "image_size = 8, patch_size = 1, hidden_size = 8").is_ok());
    for (from, to, key) in [
        (
            sizes,
            "image_size = 7, patch_size = 1, hidden_size = 128",
            "image_size is 7",
        ),
        (
            sizes,
            "image_size = 64, patch_size = 0, hidden_size = 128",
            "patch_size is 0",
        ),
        (layers, "num_hidden_layers = 65", "num_hidden_layers is 65"),
        (
            "intermediate_size = 512",
            "intermediate_size = 16385",
            "intermediate_size is 16385",
        ),
    ] {
        let said = clip(from, to).unwrap_err().to_string();
        assert!(
            said.contains(&format!("training.clip.architecture.{key}")),
            "{said}"
        );
    }
}

#[test]
fn a_head_is_as_wide_as_the_trainer_takes() {
    let transformer = |width: u32| {
        let sizes = "intermediate_size = 32 }";
        let text = include_str!("../../../tests/support/recipe.toml");
        assert!(text.contains(sizes));
        let wide = format!("intermediate_size = 32, head = \"mlp\", head_hidden_size = {width} }}");
        Recipe::parse(&text.replacen(sizes, &wide, 1))
    };
    assert!(transformer(1).is_ok() && transformer(8_192).is_ok());
    for width in [0, 8_193] {
        let said = transformer(width).unwrap_err().to_string();
        let wanted = format!("head_hidden_size is {width}; allowed is 1 to 8192");
        assert!(said.contains(&wanted), "{said}");
    }
}

#[test]
fn what_only_classifiers_have_is_refused_elsewhere() {
    for (model, steps) in [("clip", "steps = 800"), ("diffusion", "steps = 3000")] {
        for setting in [
            "label_smoothing = 0.1",
            "mixup = 0.2",
            "cutmix = 1.0",
            "class_weights = true",
            "logit_adjustment = 1.0",
            "loss = \"focal\"",
            "loss = \"ldam\"",
            "synthetic_weight = 0.5",
        ] {
            let said = broken(steps, &format!("{steps}, {setting}"));
            let name = setting.split(' ').next().unwrap();
            let wanted = format!("training.{model}.settings.{name}: is of classifiers");
            assert!(said.contains(&wanted), "{said}");
        }
    }
    for own in ["head = \"mlp\"", "head_hidden_size = 16", "drop_path = 0.1"] {
        let layers = "num_hidden_layers = 3";
        let said = broken(layers, &format!("{layers}, {own}"));
        assert!(said.contains("training.clip.architecture: head"), "{said}");
    }
}

#[test]
fn a_class_override_wins_over_the_gates_bounds() {
    let text = EMOTION.replacen(
        "thresholds = { min = 0.65 }",
        "thresholds = { min = 0.65 }\nper_class = { fear = { min = 0.5 } }",
        1,
    );
    let recipe = Recipe::parse(&text).unwrap();
    assert_eq!(
        recipe.gates[2].thresholds_for("fear").get("min"),
        Some(&0.5)
    );
    assert_eq!(
        recipe.gates[2].thresholds_for("sad").get("min"),
        Some(&0.65)
    );
}

#[test]
fn axes_are_known_to_the_texts_that_name_them() {
    let text = EMOTION.replacen(
        "[prompts.texts]",
        "[prompts.axes]\nage = [\"young\", \"old\"]\n[prompts.texts]",
        1,
    );
    let recipe = Recipe::parse(&text.replacen("a sad face with", "a sad {age} face with", 1));
    let (_, prompt) = recipe.unwrap().prompts.generation("sad", 1);
    assert!(prompt.starts_with("a sad young face with"), "{prompt}");
}
