//! `SHA256SUMS` of a model directory: every file as it was when the directory was finished, in the format of `sha256sum`, so that
//! `sha256sum -c SHA256SUMS` checks it too. The revision names the weights alone; this covers what says how to use them.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read},
    path::{Component, Path},
};

use sha2::{Digest as _, Sha256};

use crate::error::{ModelError, Result};

/// Name of the file.
pub const FILE: &str = "SHA256SUMS";

/// Writes the checksums of all other files of a directory and its folders, but for those of `optional` names, which may be taken
/// out of it. Reads every byte.
///
/// # Errors
/// [`ModelError::Io`] for a file that cannot be read or written, or whose name is not one line of UTF-8.
pub fn write(directory: &Path, optional: &[&str]) -> Result<()> {
    let file = directory.join(FILE);
    record(directory, optional)
        .and_then(|text| fs::write(&file, text))
        .map_err(ModelError::io(&file))
}

fn record(directory: &Path, optional: &[&str]) -> io::Result<String> {
    let mut names = Vec::new();
    below(directory, "", &mut names)?;
    names.retain(|name| name != FILE && !optional.contains(&name.as_str()));
    names.sort_unstable();
    let mut text = String::new();
    for name in names {
        text += &format!("{}  {name}\n", of_file(&directory.join(&name))?);
    }
    Ok(text)
}

/// Whether every file that was there is there still and as it was; files that were added do not matter, and a directory without
/// `SHA256SUMS` is taken as it is. Reads every byte.
///
/// # Errors
/// [`ModelError::Checksums`] names the first file that is missing or changed; [`ModelError::Io`].
pub fn verify(directory: &Path) -> Result<()> {
    let file = directory.join(FILE);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ModelError::io(&file)(error)),
    };
    for line in text.lines() {
        let entry = line.split_once("  ").filter(|(_, name)| is_inside(name));
        let Some((recorded, name)) = entry else {
            let why = format!("holds {line:?}, which is no checksum of a file beside it");
            return Err(ModelError::Checksums(why));
        };
        match of_file(&directory.join(name)) {
            Ok(found) if found == recorded => {}
            Ok(_) => {
                let why = format!("records another {name} than there is");
                return Err(ModelError::Checksums(why));
            }
            Err(error) => {
                let why = format!("records {name}, which cannot be read: {error}");
                return Err(ModelError::Checksums(why));
            }
        }
    }
    Ok(())
}

fn is_inside(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    parts.all(|part| matches!(part, Component::Normal(_)))
}

/// Names of all files, with `/` between folders.
fn below(folder: &Path, prefix: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().filter(|name| !name.contains(['\n', '\\']));
        let Some(name) = name else {
            let why = format!(
                "{} has a name that {FILE} cannot hold",
                entry.path().display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        };
        let name = format!("{prefix}{name}");
        if entry.path().is_dir() {
            below(&entry.path(), &format!("{name}/"), names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}

fn of_file(path: &Path) -> io::Result<String> {
    Ok(sha256(File::open(path)?)?.0)
}

/// Of all that can be read: hexadecimal, and how many bytes there were.
pub fn sha256(content: impl Read) -> io::Result<(String, u64)> {
    let mut reader = BufReader::with_capacity(1 << 16, content);
    let (mut hasher, mut size) = (Sha256::new(), 0);
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            break;
        }
        hasher.update(bytes);
        let read = bytes.len();
        reader.consume(read);
        size += read as u64;
    }
    let digest = hasher.finalize();
    let digits = digest.iter().map(|byte| format!("{byte:02x}"));
    Ok((digits.collect(), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("unet")).unwrap();
        fs::write(directory.path().join("unet/config.json"), "abc").unwrap();
        fs::write(directory.path().join("golden.safetensors"), "").unwrap();
        write(directory.path(), &[]).unwrap();
        directory
    }

    #[test]
    fn the_format_is_sha256sum_s() {
        let directory = directory();
        // FIPS 180-2's example, and nothing at all.
        let expected = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  golden.safetensors\n\
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  unet/config.json\n";
        let written = || fs::read_to_string(directory.path().join(FILE)).unwrap();
        assert_eq!(written(), expected);
        fs::write(directory.path().join("neighbours.safetensors"), "").unwrap();
        write(directory.path(), &["neighbours.safetensors"]).unwrap();
        assert_eq!(written(), expected, "the file itself is left out as well");
        verify(directory.path()).unwrap();
    }

    #[test]
    fn what_changed_or_went_is_named_and_what_came_does_not_matter() {
        let directory = directory();
        let at = |name: &str| directory.path().join(name);
        let refused = || verify(directory.path()).unwrap_err().to_string();
        fs::write(at("int8.safetensors"), "added").unwrap();
        verify(directory.path()).unwrap();
        fs::write(at("unet/config.json"), "abd").unwrap();
        assert_eq!(
            refused(),
            "SHA256SUMS records another unet/config.json than there is"
        );
        fs::write(at("unet/config.json"), "abc").unwrap();
        fs::remove_file(at("golden.safetensors")).unwrap();
        assert!(refused().starts_with("SHA256SUMS records golden.safetensors, which cannot"));
        fs::write(at(FILE), "00  ../elsewhere\n").unwrap();
        assert!(refused().contains("no checksum of a file beside it"));
        fs::remove_file(at(FILE)).unwrap();
        verify(directory.path()).unwrap();
    }
}
