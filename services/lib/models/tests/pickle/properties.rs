//! Properties that hold for any bytes: tensors or a refusal, never a panic, never more memory than the file warrants.

use super::{bytes_of, fixture, read, writer};
use proptest::collection::vec;
use proptest::prelude::*;
use saga_models::{Stored, pickle};
use std::collections::BTreeMap;
use std::io::Read;

const GOOD: [&str; 4] = [
    "state_dict.pth",
    "legacy.pth",
    "checkpoint.pth",
    "checkpoint-legacy.pth",
];

/// Kibibytes of address space: no length of 32 bits fits in what the test may take on top of libtorch.
const MOST_MEMORY: u64 = 4 << 20;

#[test]
fn truncated_files_are_refused() {
    for name in GOOD {
        let bytes = bytes_of(name);
        for fiftieth in 0..50 {
            let length = bytes.len() * fiftieth / 50;
            assert!(
                read(&bytes[..length]).is_err(),
                "{name}: {length} of {}",
                bytes.len()
            );
        }
        assert!(read(&bytes[..bytes.len() - 1]).is_err(), "{name}");
    }
}

#[test]
fn reading_is_repeatable() {
    for name in GOOD {
        let path = fixture(name);
        assert_eq!(pickle::read(&path).unwrap(), pickle::read(&path).unwrap());
    }
}

#[derive(Debug, Clone)]
enum Change {
    Flip(u8),
    Cut(usize),
    Insert(Vec<u8>),
}

/// Changes at places that are counted in parts of the whole.
fn changes() -> impl Strategy<Value = Vec<(f64, Change)>> {
    let change = prop_oneof![
        3 => (1..=u8::MAX).prop_map(Change::Flip),
        1 => (1..40_usize).prop_map(Change::Cut),
        1 => vec(any::<u8>(), 1..20).prop_map(Change::Insert),
    ];
    vec((0.0..1.0, change), 1..4)
}

fn change(bytes: &mut Vec<u8>, changes: &[(f64, Change)]) {
    for (place, change) in changes {
        let place = (bytes.len() as f64 * place) as usize;
        match change {
            Change::Flip(bits) => bytes
                .iter_mut()
                .skip(place)
                .take(1)
                .for_each(|byte| *byte ^= bits),
            Change::Cut(count) => drop(bytes.drain(place..bytes.len().min(place + count))),
            Change::Insert(more) => drop(bytes.splice(place..place, more.iter().copied())),
        }
    }
}

/// Reads, and checks what was read if anything.
fn try_read(bytes: &[u8]) {
    let before = address_space("VmSize:");
    let found = read(bytes).unwrap_or_default();
    for Stored { dtype, shape, data } in found.values() {
        let count: usize = if shape.contains(&0) {
            0
        } else {
            shape.iter().product()
        };
        assert_eq!(data.len(), count * dtype.bitsize() / 8);
    }
    if let (Some(before), Some(peak)) = (before, address_space("VmPeak:")) {
        assert!(
            peak < before + MOST_MEMORY,
            "{before} KiB, at most {peak} KiB"
        );
    }
}

/// Where Linux tells it.
fn address_space(line: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|found| found.strip_prefix(line))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The files of an archive, so that a change can be sealed with the checksum that fits it.
fn unpack(name: &str) -> BTreeMap<String, Vec<u8>> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(fixture(name)).unwrap()).unwrap();
    (0..archive.len())
        .map(|index| {
            let mut entry = archive.by_index(index).unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.name().unwrap().to_string(), bytes)
        })
        .collect()
}

/// Opcodes that torch writes, with small operands: more of these run than of bytes at random.
fn opcodes() -> impl Strategy<Value = Vec<u8>> {
    let bare = b"N\x88\x89(t)\x85\x86\x87]ae}su\x8f\x90\x91\x94\x93RbQ.";
    let bare = proptest::sample::select(&bare[..]).prop_map(|code| vec![code]);
    let numbers = any::<[u8; 8]>().prop_map(|n| [b"\x8a\x08", &n[..]].concat());
    let memo = (proptest::sample::select(&b"qhK"[..]), 0..6_u8).prop_map(|(code, n)| vec![code, n]);
    let texts =
        proptest::sample::select(&["storage", "0", "state_dict", "torch", "FloatStorage"][..]);
    let names = proptest::sample::select(
        &[
            ("collections", "OrderedDict"),
            ("torch", "LongStorage"),
            ("torch", "Size"),
            ("torch._utils", "_rebuild_tensor_v2"),
            ("torch._utils", "_rebuild_parameter"),
        ][..],
    );
    let whole =
        (any::<[i64; 5]>(), 0..4_i64).prop_map(|([count, offset, size, stride, other], small)| {
            let storage = writer::storage("FloatStorage", "0", if other < 0 { 1 } else { count });
            let (size, stride) = if other % 2 == 0 {
                (size, stride)
            } else {
                (small, 0)
            };
            writer::tensor(&storage, offset.min(small), &[size, 1], &[stride, other])
        });
    let one = prop_oneof![
        6 => bare,
        1 => numbers,
        2 => memo,
        2 => texts.prop_map(writer::text),
        1 => names.prop_map(|(module, name)| writer::global(module, name)),
        1 => whole,
    ];
    vec(one, 0..60).prop_map(|all| all.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_are_read_or_refused(start in 0..4_usize, bytes in vec(any::<u8>(), 0..600)) {
        // Of the last, the start of the object's pickle too.
        let legacy = &writer::legacy(b"", &[])[..36];
        let start = [&b""[..], b"PK\x03\x04", b"\x80\x02", legacy][start];
        try_read(&[start, &bytes].concat());
    }

    #[test]
    fn any_opcodes_are_read_or_refused(code in opcodes(), in_dict in any::<bool>()) {
        let code = if in_dict { writer::dict(&[(writer::text("w"), code)]) } else { code };
        let object = writer::pickle(&code);
        try_read(&writer::legacy(&object, &[("0", 1, &[0; 4])]));
        try_read(&writer::archive(&[("a/data.pkl", &object), ("a/data/0", &[0; 4])]));
    }

    #[test]
    fn any_change_is_read_or_refused(file in 0..GOOD.len(), changes in changes()) {
        let mut bytes = bytes_of(GOOD[file]);
        change(&mut bytes, &changes);
        try_read(&bytes);
    }

    #[test]
    fn any_change_within_an_archive_is_read_or_refused(
        file in 0..2_usize, entry in any::<prop::sample::Index>(), changes in changes(),
    ) {
        let mut files = unpack(["state_dict.pth", "checkpoint.pth"][file]);
        let others: Vec<_> = files.keys().filter(|name| !name.ends_with("data.pkl")).cloned().collect();
        let pickle = files.keys().find(|name| name.ends_with("data.pkl")).unwrap().clone();
        // Half of the changes to the pickle, half to any other file.
        let chosen = if entry.index(2) == 0 { &pickle } else { entry.get(&others) };
        change(files.get_mut(chosen).unwrap(), &changes);
        let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
        try_read(&writer::archive(&files));
    }
}
