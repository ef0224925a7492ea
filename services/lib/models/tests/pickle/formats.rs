//! What torch.save writes, in each of its formats.

use super::writer::{self, dict, int, pickle, storage, tensor, text, tuple};
use super::{bytes_of, fixture, read, refusal};
use safetensors::{Dtype, SafeTensors};
use saga_models::{ModelError, Stored, pickle as checkpoint};
use std::collections::BTreeMap;

fn expected(name: &str) -> BTreeMap<String, Stored> {
    let bytes = bytes_of(name);
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let stored = tensors.iter().map(|(name, view)| {
        let (dtype, shape) = (view.dtype(), view.shape().to_vec());
        let data = view.data().to_vec();
        (name.to_string(), Stored { dtype, shape, data })
    });
    stored.collect()
}

#[test]
fn tensors_equal_torchs() {
    let expected = expected("expected.safetensors");
    assert_eq!(expected.len(), 26);
    for name in [
        "state_dict.pth",
        "protocol4.pth",
        "legacy.pth",
        "rebuilt.pth",
    ] {
        let found = checkpoint::read(&fixture(name)).unwrap();
        let names =
            |tensors: &BTreeMap<String, Stored>| tensors.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&expected), "{name}");
        for (key, stored) in &found {
            assert_eq!(stored, &expected[key], "{name}: {key}");
        }
    }
}

#[test]
fn weights_are_found_beside_a_trainings_state() {
    let expected = expected("expected-checkpoint.safetensors");
    for name in ["checkpoint.pth", "checkpoint-legacy.pth"] {
        assert_eq!(
            checkpoint::read(&fixture(name)).unwrap(),
            expected,
            "{name}"
        );
    }
}

fn ones() -> Vec<u8> {
    tensor(&storage("FloatStorage", "0", 1), 0, &[1], &[1])
}

fn read_object(object: &[u8]) -> Result<Vec<String>, String> {
    let file = writer::legacy(&pickle(object), &[("0", 1, &[0; 4])]);
    let found = read(&file).map_err(|problem| problem.to_string())?;
    Ok(found.into_keys().collect())
}

#[test]
fn state_dicts_take_precedence_by_their_names() {
    let under = |holders: &[&str]| {
        let entries = holders.iter().map(|holder| {
            let inner = dict(&[(text(&format!("from {holder}")), ones())]);
            (text(holder), inner)
        });
        read_object(&dict(&entries.collect::<Vec<_>>()))
    };
    for holders in [
        &["model", "state_dict", "model_state_dict"][..],
        &["state_dict", "model"],
        &["state_dict"],
    ] {
        assert_eq!(under(holders).unwrap(), ["from state_dict"]);
    }
    let found = under(&["model", "model_state_dict"]).unwrap();
    assert_eq!(found, ["from model_state_dict"]);
    assert_eq!(under(&["net"]).unwrap(), ["from net"]);
    let error = under(&["net", "model"]).unwrap_err();
    assert!(error.contains("model, net"), "{error}");
}

#[test]
fn settings_called_model_are_no_weights() {
    let settings = dict(&[(text("depth"), int(3))]);
    let object = dict(&[
        (text("model"), settings),
        (text("net"), dict(&[(text("w"), ones())])),
    ]);
    assert_eq!(read_object(&object).unwrap(), ["w"]);
}

#[test]
fn the_later_of_two_entries_holds() {
    let shorter = tensor(&storage("FloatStorage", "0", 1), 0, &[], &[]);
    let object = dict(&[(text("w"), ones()), (text("w"), shorter)]);
    let file = writer::legacy(&pickle(&object), &[("0", 1, &[0; 4])]);
    assert!(read(&file).unwrap()["w"].shape.is_empty());
}

#[test]
fn what_is_no_tensor_is_named() {
    for (value, what) in [
        (int(3), "an int"),
        (text("on"), "a string"),
        (dict(&[]), "a dict"),
        (tuple(&[]), "a tuple"),
        (vec![b'N'], "None"),
        (storage("FloatStorage", "0", 1), "a storage"),
    ] {
        let object = dict(&[(text("w"), ones()), (text("odd\n"), value)]);
        let error = read_object(&object).unwrap_err();
        assert!(
            error.contains(r#"entry "odd\n""#) && error.contains(what),
            "{error}"
        );
    }
    let error = read_object(&dict(&[(text("w"), ones()), (int(0), ones())])).unwrap_err();
    assert!(error.contains("an int for a key"), "{error}");
}

#[test]
fn an_object_without_weights_is_described() {
    let file = |object: &[u8]| {
        let file = writer::legacy(&pickle(object), &[]);
        read(&file).unwrap_err().to_string()
    };
    let error = file(&dict(&[
        (text("epoch"), int(3)),
        (text("weights"), dict(&[])),
    ]));
    assert!(
        error.contains(r#"no tensor under "epoch", "weights""#),
        "{error}"
    );
    assert!(file(&tuple(&[])).contains("a tuple"));
    assert!(file(&dict(&[])).contains("no tensor"));
}

#[test]
fn an_ordered_dict_of_python_2_is_read() {
    // collections.OrderedDict([["w", tensor]]), with byte strings for text.
    let pair = [b"]".to_vec(), b"(U\x01w".to_vec(), ones(), b"e".to_vec()].concat();
    let list = [b"](".to_vec(), pair, b"e".to_vec()].concat();
    let object = [
        writer::global("collections", "OrderedDict"),
        list,
        b"\x85R".to_vec(),
    ]
    .concat();
    assert_eq!(read_object(&object).unwrap(), ["w"]);
}

#[test]
fn archives_without_byte_order_are_little_endian() {
    let data = pickle(&dict(&[(text("w"), ones())]));
    let files: [(&str, &[u8]); 2] = [("a/data.pkl", &data), ("a/data/0", &[0, 0, 128, 63])];
    let found = read(&writer::archive(&files)).unwrap();
    assert_eq!(
        (found["w"].dtype, &found["w"].data),
        (Dtype::F32, &vec![0, 0, 128, 63])
    );
    let big: (&str, &[u8]) = ("a/byteorder", b"big");
    let error = read(&writer::archive(&[files[0], big, files[1]])).unwrap_err();
    assert!(error.to_string().contains("little-endian"), "{error}");
}

#[test]
fn other_formats_are_refused_with_a_way_out() {
    let script = refusal("script.pt");
    assert!(
        script.contains("TorchScript") && script.contains("state_dict"),
        "{script}"
    );
    let complex = refusal("complex.pth");
    assert!(complex.contains("torch.ComplexFloatStorage"), "{complex}");
    for name in ["expected.safetensors", "make.py"] {
        assert!(refusal(name).contains("torch.save"));
    }
    let mut tar = vec![0x80; 512];
    tar[257..262].copy_from_slice(b"ustar");
    assert!(read(&tar).unwrap_err().to_string().contains("tar format"));
    let plain = pickle(&dict(&[]));
    assert!(
        read(&plain)
            .unwrap_err()
            .to_string()
            .contains("not a file that torch.save")
    );
    let missing = ModelError::from(checkpoint::read(&fixture("missing.pth")).unwrap_err());
    assert!(
        missing.to_string().contains("missing.pth: cannot read"),
        "{missing}"
    );
}
