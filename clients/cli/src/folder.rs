//! Folders of images.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use walkdir::WalkDir;

/// What counts as an image.
const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Every image below `folder`, in the order of their paths.
///
/// # Errors
/// A folder that cannot be read, or that holds none.
pub fn images_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry =
            entry.with_context(|| format!("cannot read the folder `{}`", folder.display()))?;
        if entry.file_type().is_file() && is_image(entry.path()) {
            paths.push(entry.into_path());
        }
    }
    ensure!(
        !paths.is_empty(),
        "no images ({}) below `{}`",
        EXTENSIONS.join(", "),
        folder.display()
    );
    Ok(paths)
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.to_lowercase().as_str()))
}

/// The same in an order in which whatever comes first is spread over all of them, and so over the classes they are sorted by.
pub fn spread<T>(all: Vec<T>) -> Vec<T> {
    let count = all.len();
    // Steps near the golden section leave no large gap; one without a common divisor meets every place.
    let step = (count * 618_034 / 1_000_000..).find(|&step| divisor(step, count) == 1);
    let mut all: Vec<Option<T>> = all.into_iter().map(Some).collect();
    let places = (0..count).map(|turn| turn * step.unwrap_or(1) % count);
    places
        .filter_map(|place| all.get_mut(place).and_then(Option::take))
        .collect()
}

/// The greatest common divisor.
fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_spread_come_from_everywhere() {
        for count in [0, 1, 2, 3, 8, 97, 5_217] {
            let mut found = spread((0..count).collect());
            let first = found.iter().take(count / 10);
            let mut tenths = [0; 10];
            for index in first {
                tenths[index * 10 / count] += 1;
            }
            let even = (count / 10) as f64 / 10.0;
            let near = |&found: &u32| (f64::from(found) - even).abs() <= f64::max(2.0, even / 7.0);
            assert!(tenths.iter().all(near), "{count}: {tenths:?}");
            found.sort_unstable();
            assert!(found.into_iter().eq(0..count));
        }
    }
}
