//! A Hugging Face model directory as a unit: read, revisioned, and replaced as a whole or not at all.

use crate::checkpoint;
use crate::error::{ModelError, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

pub const CONFIG: &str = "config.json";
pub const PREPROCESSOR: &str = "preprocessor_config.json";
pub const WEIGHTS: &str = "model.safetensors";
/// Answers recorded with the model.
pub const GOLDEN: &str = "golden.safetensors";
/// Ranges that the model is served in 8-bit integers with.
pub const INT8: &str = "int8.safetensors";
pub const TOKENIZER: &str = "tokenizer.json";
/// Words and merges of a tokenizer, where there is no tokenizer.json.
pub const VOCAB: &str = "vocab.json";
pub const MERGES: &str = "merges.txt";
/// Folder of the UNet in a diffusers directory.
pub(crate) const UNET: &str = "unet";
pub const MODEL_CARD: &str = "README.md";

/// Reads a directory's config.json.
pub fn read_config<C: DeserializeOwned>(dir: &Path) -> Result<C> {
    read_json(&dir.join(CONFIG))
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).map_err(ModelError::io(path))?;
    serde_json::from_slice(&bytes).map_err(ModelError::json(path))
}

/// Writes indented JSON with a final newline.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(ModelError::json(path))?;
    text.push('\n');
    fs::write(path, text).map_err(ModelError::io(path))
}

/// Names the weights by content: the first 16 hexadecimal digits of the BLAKE3 of the file or files that hold them; of a diffusers
/// directory, those of its UNet.
pub fn revision(dir: &Path) -> Result<String> {
    let unet = dir.join(UNET);
    let dir = if unet.is_dir() { &unet } else { dir };
    let mut hasher = blake3::Hasher::new();
    for path in checkpoint::weight_files(dir)? {
        let file = fs::File::open(&path).map_err(ModelError::io(&path))?;
        hasher.update_reader(file).map_err(ModelError::io(&path))?;
    }
    Ok(hasher.finalize().to_hex()[..16].to_string())
}

/// Replaces `dir` by what `fill` writes into an empty sibling. A crash at any moment leaves the old directory
/// or the new one, whole; an error from `fill` leaves the old one.
pub fn replace(dir: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = dir
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(ModelError::io(parent))?;
    let sibling = tempfile::Builder::new()
        .prefix(".saving-")
        // A temporary directory is private to its owner; a model directory is read by whom the umask lets.
        .permissions(Permissions::from_mode(0o777))
        .tempdir_in(parent)
        .map_err(ModelError::io(parent))?;
    fill(sibling.path())?;
    sync(sibling.path())?;
    if dir.exists() {
        // The names change hands in one step; dropping the sibling then deletes the old content.
        exchange(sibling.path(), dir)?;
    } else {
        fs::rename(sibling.path(), dir).map_err(ModelError::io(dir))?;
    }
    fs::File::open(parent)
        .and_then(|parent| parent.sync_all())
        .map_err(ModelError::io(parent))
}

/// Gives the files of `from` a second name in the empty folder `into`; where the file system has no hard links, copies them.
/// Whoever replaces `from` as a whole leaves them as they are.
pub fn link(from: &Path, into: &Path) -> Result<()> {
    for entry in fs::read_dir(from).map_err(ModelError::io(from))? {
        let entry = entry.map_err(ModelError::io(from))?;
        let (path, second) = (entry.path(), into.join(entry.file_name()));
        if path.is_dir() {
            fs::create_dir(&second).map_err(ModelError::io(&second))?;
            link(&path, &second)?;
        } else {
            let linked = fs::hard_link(&path, &second);
            let linked = linked.or_else(|_| fs::copy(&path, &second).map(drop));
            linked.map_err(ModelError::io(&second))?;
        }
    }
    Ok(())
}

fn exchange(a: &Path, b: &Path) -> Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)
        .map_err(|error| ModelError::io(b)(error.into()))
}

/// Makes every file durable before the directory takes its name.
fn sync(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(ModelError::io(dir))? {
        let path = entry.map_err(ModelError::io(dir))?.path();
        if path.is_dir() {
            sync(&path)?;
            continue;
        }
        fs::File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(ModelError::io(&path))?;
    }
    fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(ModelError::io(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn save(dir: &Path, content: &str) {
        replace(dir, |new| {
            fs::write(new.join(WEIGHTS), content).map_err(ModelError::io(new))
        })
        .unwrap();
    }

    #[test]
    fn replaces_as_a_whole_and_leaves_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("models/vit");
        save(&dir, "old");
        fs::write(dir.join("stray"), "").unwrap();
        let old = revision(&dir).unwrap();
        save(&dir, "new");
        assert_ne!(revision(&dir).unwrap(), old);
        assert!(!dir.join("stray").exists());
        assert_eq!(fs::read_dir(root.path().join("models")).unwrap().count(), 1);
    }

    #[test]
    fn linked_files_outlive_what_replaces_the_first() {
        let root = tempfile::tempdir().unwrap();
        let [dir, kept] = ["vit", "kept"].map(|name| root.path().join(name));
        replace(&dir, |new| {
            let unet = new.join(UNET);
            fs::create_dir(&unet).map_err(ModelError::io(&unet))?;
            fs::write(unet.join("of"), "old").map_err(ModelError::io(&unet))?;
            fs::write(new.join(WEIGHTS), "old").map_err(ModelError::io(new))
        })
        .unwrap();
        replace(&kept, |new| link(&dir, new)).unwrap();
        save(&dir, "new");
        for file in [kept.join(WEIGHTS), kept.join(UNET).join("of")] {
            assert_eq!(fs::read_to_string(file).unwrap(), "old");
        }
        assert!(!dir.join(UNET).exists());
    }

    #[test]
    fn a_failed_save_leaves_the_old_directory() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("vit");
        save(&dir, "old");
        let failed = replace(&dir, |new| {
            fs::write(new.join(WEIGHTS), "half").map_err(ModelError::io(new))?;
            Err(ModelError::Input("power cut".into()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(dir.join(WEIGHTS)).unwrap(), "old");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn revision_is_blake3_of_the_weights() {
        let root = tempfile::tempdir().unwrap();
        save(&root.path().join("vit"), "");
        assert_eq!(
            revision(&root.path().join("vit")).unwrap(),
            "af1349b9f5f9a1a6"
        );
    }
}
