//! Pairs of images to send: from a folder, or rendered.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use saga_load::Sample;
use saga_proto::generator::v1::{
    RenderDatasetRequest, RenderDatasetResponse, studio_service_client::StudioServiceClient,
};

use crate::{args::Items, commands::guard::read_image, folder::images_below, system::System};

/// What the studio renders.
const LABELS: [&str; 8] = [
    "neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt",
];

/// At most `most` images below `folder`, evenly taken in the order of their paths; each with the next one as its source.
pub fn from_folder(folder: &Path, most: usize) -> Result<Vec<Sample>> {
    let paths = images_below(folder)?;
    let taken: Vec<&PathBuf> = evenly(&paths, most).collect();
    let images = taken
        .iter()
        .map(|path| Ok(read_image(path)?.data))
        .collect::<Result<Vec<_>>>()?;
    let sources = images.iter().cycle().skip(1);
    let pairs = taken.iter().zip(&images).zip(sources);
    Ok(pairs
        .map(|((path, candidate), source)| Sample {
            name: path.display().to_string(),
            candidate: candidate.clone(),
            source: source.clone(),
            label: label_of(folder, path),
        })
        .collect())
}

/// At most `most` of `all`, first to last.
fn evenly<T>(all: &[T], most: usize) -> impl Iterator<Item = &T> {
    let count = all.len().min(most);
    (0..count).filter_map(move |index| all.get(index * all.len() / count))
}

/// The name of the class folder; empty where the image lies in `folder` itself.
fn label_of(folder: &Path, path: &Path) -> String {
    let parent = path.parent().filter(|parent| *parent != folder);
    let name = parent
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    name.unwrap_or_default().to_owned()
}

/// Faces of every expression; each with another face of the same person as its source.
pub async fn rendered(system: &System, items: &Items, seed: u64) -> Result<Vec<Sample>> {
    let count = u32::try_from(items.items)?.max(2);
    let labels = u32::try_from(LABELS.len())?;
    let counts = (0..).zip(LABELS).map(|(turn, label)| {
        let extra = u32::from(turn < count % labels);
        (label.to_owned(), count / labels + extra)
    });
    let request = RenderDatasetRequest {
        seed,
        counts: counts.filter(|(_, count)| *count > 0).collect(),
        size: items.size,
    };
    let mut studio = saga_client::limited!(StudioServiceClient::new(system.generator.clone()));
    let faces: Vec<_> = studio
        .render_dataset(request)
        .await?
        .into_inner()
        .try_collect()
        .await?;
    let mut people: BTreeMap<&str, Vec<&RenderDatasetResponse>> = BTreeMap::new();
    for face in &faces {
        people.entry(&face.subject).or_default().push(face);
    }
    let data = |face: &RenderDatasetResponse| face.image.as_ref().map(|image| image.data.clone());
    let mut samples = Vec::new();
    for person in people.values() {
        let sources = person.iter().cycle().skip(1);
        for (face, source) in person.iter().zip(sources) {
            let images = data(face).zip(data(source));
            let (candidate, source) = images.context("the studio answered without an image")?;
            samples.push(Sample {
                name: face.path.clone(),
                candidate,
                source,
                label: face.label.clone(),
            });
        }
    }
    samples.truncate(items.items);
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn images_are_paired_with_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("fear")).unwrap();
        for name in ["fear/a.JPG", "b.png", "c.webp", "notes.txt"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let samples = from_folder(folder.path(), 64).unwrap();
        let mut found: Vec<_> = samples
            .iter()
            .map(|sample| (&*sample.candidate, &*sample.source, sample.label.as_str()))
            .collect();
        found.sort();
        let expected: [(&[u8], &[u8], &str); 3] = [
            (b"b.png", b"c.webp", ""),
            (b"c.webp", b"fear/a.JPG", ""),
            (b"fear/a.JPG", b"b.png", "fear"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn folders_without_images_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let empty = from_folder(folder.path(), 64).unwrap_err().to_string();
        assert!(
            empty.contains("no images (jpg, jpeg, png, webp)"),
            "{empty}"
        );
        let missing = from_folder(&folder.path().join("nowhere"), 64).unwrap_err();
        assert!(missing.to_string().contains("nowhere"), "{missing}");
    }

    #[test]
    fn few_of_many_are_taken_from_first_to_last() {
        let all: Vec<u32> = (0..10).collect();
        assert_eq!(evenly(&all, 3).copied().collect::<Vec<_>>(), [0, 3, 6]);
        assert_eq!(evenly(&all, 99).count(), 10);
    }
}
