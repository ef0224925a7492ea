//! Writes checkpoints by hand, for what torch itself would not write.

use std::io::{Cursor, Write};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A whole pickle of protocol 2 that makes one value.
pub fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

pub fn text(text: &str) -> Vec<u8> {
    let length = (text.len() as u32).to_le_bytes();
    [b"X", &length[..], text.as_bytes()].concat()
}

pub fn int(value: i64) -> Vec<u8> {
    [b"\x8a\x08", &value.to_le_bytes()[..]].concat()
}

pub fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(".to_vec(), items.concat(), b"t".to_vec()].concat()
}

pub fn dict(items: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let items = items.iter().map(|(key, value)| [&key[..], value].concat());
    [
        b"}(".to_vec(),
        items.collect::<Vec<_>>().concat(),
        b"u".to_vec(),
    ]
    .concat()
}

pub fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

pub fn storage(kind: &str, key: &str, count: i64) -> Vec<u8> {
    let kind = global("torch", kind);
    let id = tuple(&[text("storage"), kind, text(key), text("cpu"), int(count)]);
    [id, b"Q".to_vec()].concat()
}

pub fn tensor(storage: &[u8], offset: i64, sizes: &[i64], strides: &[i64]) -> Vec<u8> {
    let lengths =
        |values: &[i64]| tuple(&values.iter().map(|&value| int(value)).collect::<Vec<_>>());
    let arguments = [
        storage.to_vec(),
        int(offset),
        lengths(sizes),
        lengths(strides),
        b"\x89".to_vec(),
        b"N".to_vec(),
    ];
    let rebuild = global("torch._utils", "_rebuild_tensor_v2");
    [rebuild, tuple(&arguments), b"R".to_vec()].concat()
}

/// A file of before PyTorch 1.6, with storages as key, announced count and elements.
pub fn legacy(object: &[u8], storages: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let magic = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    let keys = storages.iter().map(|(key, _, _)| text(key));
    let keys = [
        b"](".to_vec(),
        keys.collect::<Vec<_>>().concat(),
        b"e".to_vec(),
    ]
    .concat();
    let data = storages
        .iter()
        .map(|(_, count, elements)| [&count.to_le_bytes()[..], elements].concat());
    [
        pickle(magic),
        pickle(&int(1001)),
        pickle(&dict(&[])),
        object.to_vec(),
        pickle(&keys),
        data.collect::<Vec<_>>().concat(),
    ]
    .concat()
}

pub fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer
            .start_file(*name, SimpleFileOptions::default())
            .unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}
