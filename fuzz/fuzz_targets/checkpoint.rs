//! Configurations of models, beside weights that are whole: what services load and `saga model import` reads.

#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use saga_imaging::RgbImage;
use saga_models::checkpoint::Architecture;
use saga_models::clip::Clip;
use saga_models::{Checkpoint, Classifier, Model as _, ModelError, Runtime};
use tempfile::TempDir;

/// Layouts, with the file that configures each.
const LAYOUTS: &[(&str, &str)] = &[
    ("vit", "config.json"),
    ("vit-saga-head", "config.json"),
    ("timm-vit", "config.json"),
    ("resnet-basic", "config.json"),
    ("resnet-bottleneck", "config.json"),
    ("timm-resnet-basic", "config.json"),
    ("clip", "config.json"),
    ("open-clip", "open_clip_config.json"),
];
const PREPROCESSOR: &str = "preprocessor_config.json";

/// What the layout's directory holds, and where a changed one is written.
struct Layout {
    dir: TempDir,
    config: Vec<u8>,
    preprocessor: Option<Vec<u8>>,
}

static LAYOUT: LazyLock<Vec<Layout>> = LazyLock::new(|| {
    saga_models::tch::set_num_threads(1);
    LAYOUTS
        .iter()
        .map(|(name, config)| layout(&saga_fuzz::model(name), config))
        .collect()
});

fn layout(from: &Path, config: &str) -> Layout {
    let dir = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(from).expect("the fixture") {
        let path = entry.expect("a file").path();
        fs::copy(&path, dir.path().join(path.file_name().expect("a name"))).expect("a copy");
    }
    Layout {
        config: fs::read(from.join(config)).expect("a configuration"),
        preprocessor: fs::read(from.join(PREPROCESSOR)).ok(),
        dir,
    }
}

#[derive(Debug, Arbitrary)]
struct Changed {
    layout: u8,
    config: Vec<Edit>,
    preprocessor: Vec<Edit>,
}

/// Text in place of other text.
#[derive(Debug, Arbitrary)]
struct Edit {
    at: u16,
    removed: u8,
    inserted: Inserted,
}

#[derive(Debug, Arbitrary)]
enum Inserted {
    Number(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

fn edited(text: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut text = text.to_vec();
    for Edit {
        at,
        removed,
        inserted,
    } in edits
    {
        let start = usize::from(*at) % (text.len() + 1);
        let end = (start + usize::from(*removed % 32)).min(text.len());
        let new = match inserted {
            Inserted::Number(number) => number.to_string().into_bytes(),
            Inserted::Float(number) => number.to_string().into_bytes(),
            Inserted::Text(text) => text.clone().into_bytes(),
            Inserted::Bytes(bytes) => bytes.clone(),
        };
        text.splice(start..end, new);
    }
    text
}

fuzz_target!(|changed: Changed| {
    let which = usize::from(changed.layout) % LAYOUTS.len();
    let (layout, (_, config)) = (&LAYOUT[which], LAYOUTS[which]);
    let write =
        |name: &str, bytes: Vec<u8>| fs::write(layout.dir.path().join(name), bytes).expect("room");
    write(config, edited(&layout.config, &changed.config));
    if let Some(text) = &layout.preprocessor {
        write(PREPROCESSOR, edited(text, &changed.preprocessor));
    }
    // A refusal is as good an answer as a model.
    let _ = load(layout.dir.path());
});

/// Loads and warms up as services do.
fn load(dir: &Path) -> Result<(), ModelError> {
    let checkpoint = Checkpoint::read(dir)?;
    let preprocessor = checkpoint.preprocessor()?;
    let (height, width) = preprocessor.output_size();
    if height.max(width) <= 512 {
        for (width, height) in [(40, 30), (3, 400)] {
            let pixels = preprocessor.pixel_values(&RgbImage::new(width, height));
            let _ = preprocessor.batch(&[pixels])?;
        }
    }
    let blank = preprocessor.batch(&[vec![0.0; 3 * height as usize * width as usize]])?;
    match checkpoint.architecture() {
        Architecture::Clip(_) => {
            Clip::from_checkpoint(checkpoint, Runtime::REFERENCE)?.image_embeds(&blank)
        }
        Architecture::Vit(_) | Architecture::ResNet(_) => {
            Classifier::from_checkpoint(checkpoint, Runtime::REFERENCE)?.forward(&blank)
        }
    }
    .map(drop)
}
