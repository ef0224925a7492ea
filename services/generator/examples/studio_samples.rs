//! Writes pictures of the studio for inspection and measurement: see `tests/studio_quality.py`.
//!
//! `cargo run -p generator --example studio_samples -- OUT [SIZE] [PER_CLASS] [SEED]`
//!
//! `OUT/<label>/<label>_NNNN.jpg` is a balanced data set (`PER_CLASS` 0: the long tail, without edits) with `OUT/labels.csv`; `OUT/edits/` holds, for every second
//! picture, one edit of each kind, listed in `OUT/edits.csv` as `source,edit,source_label,target,fault`.

use std::fs;
use std::path::Path;

use generator::studio::{self, Fault, FaultRates, Label};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: u32| {
        arguments
            .get(index)
            .map_or(Ok(default), |text| text.parse::<u32>())
    };
    let out = Path::new(
        arguments
            .first()
            .ok_or("usage: studio_samples OUT [SIZE] [PER_CLASS] [SEED]")?,
    );
    let (size, per_class, seed) = (number(1, 128)?, number(2, 25)?, number(3, 1)?);
    let counts = Label::ALL
        .into_iter()
        .map(|label| (label, per_class))
        .collect();
    let balanced = per_class > 0;
    let plan = studio::plan(u64::from(seed), balanced.then_some(&counts), size)?;
    let (mut labels, mut edits) = (
        String::from("pth,label,subject\n"),
        String::from("source,edit,source_label,target,fault\n"),
    );
    fs::create_dir_all(out.join("edits"))?;
    let started = std::time::Instant::now();
    for (index, item) in plan.items().iter().enumerate() {
        let jpeg = item.render()?;
        let path = out.join(&item.path);
        fs::create_dir_all(path.parent().unwrap_or(out))?;
        fs::write(path, &jpeg)?;
        labels += &format!("{},{},{}\n", item.path, item.label, item.subject);
        if balanced && index % 2 == 0 {
            write_edits(out, index as u64, item, &jpeg, &mut edits)?;
        }
    }
    println!(
        "{:.2} ms a picture, edits included",
        started.elapsed().as_secs_f64() * 1e3 / plan.items().len() as f64
    );
    fs::write(out.join("labels.csv"), labels)?;
    fs::write(out.join("edits.csv"), edits)?;
    Ok(())
}

fn write_edits(
    out: &Path,
    index: u64,
    item: &studio::DatasetItem,
    jpeg: &[u8],
    list: &mut String,
) -> Result<(), Box<dyn std::error::Error>> {
    for (kind, fault) in [Fault::None, Fault::None]
        .into_iter()
        .chain(Fault::ALL)
        .enumerate()
    {
        let target = Label::ALL[(index as usize / 2 + kind + 1) % Label::ALL.len()];
        if target == item.label {
            continue;
        }
        let edited = studio::edit_image(
            jpeg,
            target,
            index * 16 + kind as u64,
            &FaultRates::always(fault),
        )?;
        let name = format!("edits/{index:05}_{kind}.jpg");
        fs::write(out.join(&name), &edited.jpeg)?;
        *list += &format!("{},{name},{},{target},{fault:?}\n", item.path, item.label);
    }
    Ok(())
}
