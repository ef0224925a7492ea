//! Items that every gate must refuse, and the field that its refusal must name.

use prost::bytes::Bytes;
use saga_proto::gate::v1::Item;
use saga_proto::r#type::v1::Image;

use super::{png::png_declaring, subject::Subject};

/// A bad item.
pub(super) struct Bad {
    /// What is wrong with it.
    pub(super) what: String,
    /// Absent: the request holds no item at all.
    pub(super) item: Option<Item>,
    /// The field that BadRequest must name.
    pub(super) field: &'static str,
}

/// All bad items that apply to the gate, given what it says it needs.
pub(super) fn bad_items(subject: &Subject) -> Vec<Bad> {
    let mut bad = Vec::new();
    let good = subject.item("conformance-bad");
    let mut add = |what: String, field: &'static str, change: &dyn Fn(&mut Item)| {
        let mut item = good.clone();
        change(&mut item);
        bad.push(Bad {
            what,
            item: Some(item),
            field,
        });
    };
    add(
        "a candidate_id of 129 bytes".to_owned(),
        "item.candidate_id",
        &|item| item.candidate_id = "x".repeat(129),
    );
    for (what, image) in bad_images(&subject.fixtures.candidate) {
        add(
            format!("a candidate that is {what}"),
            "item.candidate",
            &|item| item.candidate = image.clone(),
        );
    }
    if subject.description.needs_source {
        for (what, image) in bad_images(&subject.fixtures.source) {
            add(format!("a source that is {what}"), "item.source", &|item| {
                item.source = image.clone()
            });
        }
    }
    if subject.description.needs_prompt {
        add("an empty prompt".to_owned(), "item.prompt", &|item| {
            item.prompt.clear()
        });
    }
    if subject.description.needs_target_label {
        add(
            "an empty target_label".to_owned(),
            "item.target_label",
            &|item| item.target_label.clear(),
        );
    }
    for (what, overrides) in bad_thresholds(subject) {
        add(what, "item.thresholds", &|item| {
            item.thresholds.extend(overrides.clone())
        });
    }
    bad.push(Bad {
        what: "no item".to_owned(),
        item: None,
        field: "item",
    });
    bad
}

fn bad_images(good: &Bytes) -> Vec<(&'static str, Option<Image>)> {
    let image = |data: Bytes| {
        Some(Image {
            data,
            blake3: String::new(),
        })
    };
    vec![
        ("missing", None),
        ("empty", image(Bytes::new())),
        (
            "a text file",
            image(Bytes::from_static(b"pth,label\nhappy/1.jpg,1\n")),
        ),
        ("cut in half", image(good.slice(..good.len() / 2))),
        (
            "a PNG that declares 60,000 x 60,000 pixels",
            image(png_declaring(60_000, 60_000)),
        ),
        (
            "not of the hash stated",
            Some(Image {
                data: good.clone(),
                blake3: "0".repeat(64),
            }),
        ),
    ]
}

fn bad_thresholds(subject: &Subject) -> Vec<(String, Vec<(String, f64)>)> {
    let mut bad = vec![(
        "an unknown threshold".to_owned(),
        vec![("no-such-threshold".to_owned(), 0.5)],
    )];
    let specs = &subject.description.thresholds;
    for spec in specs {
        let (above, below) = (
            spec.highest + spec.highest.abs().max(1.0),
            spec.lowest - spec.lowest.abs().max(1.0),
        );
        for (what, value) in [
            ("above its range", above),
            ("below its range", below),
            ("not a number", f64::NAN),
        ] {
            bad.push((
                format!("a threshold \"{}\" {what}", spec.name),
                vec![(spec.name.clone(), value)],
            ));
        }
    }
    let bound = |name: &str| specs.iter().find(|spec| spec.name == name);
    if let (Some(min), Some(max)) = (bound("min"), bound("max")) {
        let crossed = vec![
            ("min".to_owned(), min.highest),
            ("max".to_owned(), max.lowest),
        ];
        bad.push(("a min above its max".to_owned(), crossed));
    }
    bad
}
