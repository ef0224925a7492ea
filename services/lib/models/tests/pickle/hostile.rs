//! Files made to run code, to take all memory or to trip the reader.

use super::writer::{self, dict, global, int, pickle, storage, tensor, text, tuple};
use super::{read, refusal};
use saga_models::pickle::Problem;

/// A legacy file whose state dict has one entry, over a storage of four floats.
fn weight(value: &[u8]) -> Vec<u8> {
    let object = dict(&[(text("w"), value.to_vec())]);
    writer::legacy(&pickle(&object), &[("0", 4, &[0; 16])])
}

fn floats(offset: i64, sizes: &[i64], strides: &[i64]) -> Vec<u8> {
    weight(&tensor(
        &storage("FloatStorage", "0", 4),
        offset,
        sizes,
        strides,
    ))
}

#[test]
fn names_that_could_run_code_are_refused_wherever_they_stand() {
    for name in ["runs.pth", "runs-legacy.pth", "runs-hidden.pth"] {
        let error = refusal(name);
        assert!(
            error.contains("`posix.system`") && error.contains("could run code"),
            "{error}"
        );
        assert!(error.contains("model.state_dict()"), "{error}");
    }
    assert!(refusal("module.pth").contains("`torch.nn.modules.linear.Linear`"));
    assert!(refusal("numpy.pth").contains("`numpy._core.multiarray.scalar`"));
}

#[test]
fn names_are_refused_without_a_call_and_in_attributes() {
    let system = global("os", "system");
    let plain = weight(&system);
    assert!(matches!(read(&plain), Err(Problem::Global { name, .. }) if name == "os.system"));
    let attributes = [dict(&[]), system, b"b".to_vec()].concat();
    assert!(matches!(
        read(&weight(&attributes)),
        Err(Problem::Global { .. })
    ));
    // Before and after the object, where torch notes the machine and the keys.
    for bytes in [
        b"\x80\x02cos\nsystem\n.".to_vec(),
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.".to_vec(),
    ] {
        assert!(matches!(read(&bytes), Err(Problem::Global { .. })));
    }
    // Opcodes that would import: INST, OBJ, NEWOBJ, EXT1.
    for code in [b'i', b'o', 0x81, 0x82] {
        assert!(
            matches!(read(&weight(&[code])), Err(Problem::Opcode { code: found, .. }) if found == code)
        );
    }
}

#[test]
fn a_refused_name_is_printed_harmlessly() {
    let name = format!("\u{1b}[2J{}", "x".repeat(5000));
    let error = read(&weight(&global("os", &name))).unwrap_err().to_string();
    assert!(!error.contains('\u{1b}') && error.len() < 600, "{error}");
}

#[test]
fn tensors_keep_within_their_storage() {
    assert!(read(&floats(0, &[4], &[1])).is_ok());
    assert!(read(&floats(3, &[1, 1], &[i64::MAX, 9])).is_ok());
    assert!(read(&floats(9, &[0, i64::MAX], &[1, 1])).is_ok());
    let huge = i64::MAX;
    for (offset, sizes, strides) in [
        (1, &[4][..], &[1][..]),
        (4, &[], &[]),
        (-1, &[1], &[1]),
        (0, &[-1], &[1]),
        (0, &[2], &[-1]),
        (0, &[2], &[1, 1]),
        (0, &[2, 2], &[3, 1]),
        (huge, &[2], &[huge]),
        (0, &[huge, huge], &[huge, huge]),
        (0, &[huge, 3], &[0, 0]),
        (0, &[1; 65], &[1; 65]),
    ] {
        let found = read(&floats(offset, sizes, strides));
        assert!(
            matches!(found, Err(Problem::Tensor { name, .. }) if name == "w"),
            "{offset} {sizes:?} {strides:?}"
        );
    }
}

#[test]
fn a_file_makes_no_more_than_its_size_allows() {
    assert!(refusal("terabytes.pth").contains("bytes of tensors"));
    assert!(matches!(
        read(&floats(0, &[1 << 62], &[0])),
        Err(Problem::TooLarge { .. })
    ));
    // Tied ten thousand times.
    let view = tensor(&storage("FloatStorage", "0", 4), 0, &[1 << 14], &[0]);
    let entries: Vec<_> = (0..10_000)
        .map(|n| (text(&n.to_string()), view.clone()))
        .collect();
    let file = writer::legacy(&pickle(&dict(&entries)), &[("0", 4, &[0; 16])]);
    assert!(matches!(read(&file), Err(Problem::TooLarge { .. })));
}

#[test]
fn declared_sizes_are_not_believed() {
    for count in [5, 1 << 40, 1 << 61, i64::MAX, -1] {
        let kind = storage("FloatStorage", "0", count);
        let object = pickle(&dict(&[(text("w"), tensor(&kind, 0, &[1], &[1]))]));
        assert!(read(&writer::legacy(&object, &[("0", count as u64, &[0; 16])])).is_err());
        assert!(read(&writer::legacy(&object, &[("0", 4, &[0; 16])])).is_err());
        assert!(
            read(&writer::archive(&[
                ("a/data.pkl", &object),
                ("a/data/0", &[0; 16])
            ]))
            .is_err()
        );
    }
    let lengths: [&[u8]; 6] = [
        b"X\xff\xff\xff\xff",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x8b\xff\xff\xff\xff",
        b"T\xff\xff\xff\x7f",
        b"\x95\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    for length in lengths {
        assert!(read(&weight(length)).is_err());
    }
}

#[test]
fn storages_are_what_the_pickle_says() {
    let view = |kind: &str, key: &str| tensor(&storage(kind, key, 4), 0, &[4], &[1]);
    let one = pickle(&dict(&[(text("w"), view("FloatStorage", "0"))]));
    let four = ("0", 4, &[0; 16][..]);
    assert!(read(&writer::legacy(&one, &[four])).is_ok());
    for storages in [
        &[][..],
        &[four, four],
        &[("1", 4, &[0; 16])],
        &[four, ("1", 0, &[])],
    ] {
        assert!(
            read(&writer::legacy(&one, storages)).is_err(),
            "{storages:?}"
        );
    }
    let longer = [writer::legacy(&one, &[four]), vec![0]].concat();
    assert!(matches!(read(&longer), Err(Problem::Format { .. })));
    let two_types = dict(&[
        (text("a"), view("FloatStorage", "0")),
        (text("b"), view("IntStorage", "0")),
    ]);
    let found = read(&writer::legacy(&pickle(&two_types), &[four]));
    assert!(matches!(found, Err(Problem::Storage { key, .. }) if key == "0"));

    let outside = pickle(&dict(&[(text("w"), view("FloatStorage", "../../w"))]));
    let found = read(&writer::archive(&[
        ("a/data.pkl", &outside),
        ("w", &[0; 16]),
    ]));
    assert!(matches!(found, Err(Problem::Storage { .. })));
    let longer = [one, vec![b'.']].concat();
    let found = read(&writer::archive(&[
        ("a/data.pkl", &longer),
        ("a/data/0", &[0; 16]),
    ]));
    assert!(matches!(found, Err(Problem::Malformed { .. })));
}

#[test]
fn deep_cyclic_and_endless_pickles_end() {
    let deep = |opening: &[u8], closing: &[u8]| {
        [opening.repeat(200_000), closing.repeat(200_000)].concat()
    };
    for value in [deep(b"(", b"t"), deep(b"]", b"a"), deep(b"N\x85", b"")] {
        assert!(read(&weight(&value)).is_err());
    }
    // A list that holds itself, and a dict that does.
    assert!(matches!(
        read(&weight(b"]q\x00h\x00a")),
        Err(Problem::NoStateDict { .. })
    ));
    assert!(matches!(
        read(&weight(b"}q\x00h\x00h\x00s")),
        Err(Problem::NoStateDict { .. })
    ));
    assert!(matches!(
        read(&weight(&b"]".repeat(2_000_000))),
        Err(Problem::TooLarge { .. })
    ));
    // A long list of pairs made into one dict after another.
    let pairs = [
        b"](".to_vec(),
        tuple(&[int(0), int(0)]).repeat(5000),
        b"eq\x00".to_vec(),
    ]
    .concat();
    let copies = [global("collections", "OrderedDict"), b"h\x00\x85R".to_vec()]
        .concat()
        .repeat(5000);
    assert!(matches!(
        read(&weight(&[pairs, copies].concat())),
        Err(Problem::TooLarge { .. })
    ));
}

#[test]
fn opcodes_out_of_place_are_damage() {
    let call = |module, name, arguments: Vec<u8>| {
        [global(module, name), arguments, b"R".to_vec()].concat()
    };
    let cases = [
        b"h\x07".to_vec(),
        b"(h".to_vec(),
        b"a".to_vec(),
        b"Na".to_vec(),
        b"}Na".to_vec(),
        b"]NNs".to_vec(),
        b"}(Nu".to_vec(),
        b"(\x86".to_vec(),
        b"NNb".to_vec(),
        b"NQ".to_vec(),
        b")Q".to_vec(),
        b"NN\x93".to_vec(),
        b"N)R".to_vec(),
        b"X\x01\x00\x00\x00\xff".to_vec(),
        b"\x80\x05".to_vec(),
        call("torch", "FloatStorage", tuple(&[])),
        call("torch", "Size", tuple(&[int(1)])),
        call("torch._utils", "_rebuild_parameter", tuple(&[int(1)])),
        call("torch._utils", "_rebuild_tensor_v2", tuple(&[])),
        call(
            "torch._utils",
            "_rebuild_tensor_v2",
            tuple(&[int(0), int(0), int(0), int(0)]),
        ),
        call("collections", "OrderedDict", tuple(&[b"](NNe".to_vec()])),
    ];
    for case in cases {
        assert!(read(&weight(&case)).is_err(), "{case:?}");
    }
}

#[test]
fn numbers_that_torch_would_negate_later_are_refused() {
    let flags = dict(&[(text("neg"), b"\x88".to_vec())]);
    let shape = tuple(&[int(4)]);
    let stride = tuple(&[int(1)]);
    let rest = [b"\x89".to_vec(), b"N".to_vec(), flags];
    let arguments = [
        &[storage("FloatStorage", "0", 4), int(0), shape, stride][..],
        &rest,
    ]
    .concat();
    let value = [
        global("torch._utils", "_rebuild_tensor_v2"),
        tuple(&arguments),
        b"R".to_vec(),
    ];
    let error = read(&weight(&value.concat())).unwrap_err().to_string();
    assert!(error.contains("negated lazily"), "{error}");
}
