//! Where in a checkpoint the weights are: the object itself, or one known entry of it.

use super::error::{Problem, Result};
use super::value::{Heap, Tensor, Value};
use std::collections::BTreeMap;

/// Where training scripts put weights, in the order of precedence.
const HOLDERS: [&str; 4] = ["state_dict", "model_state_dict", "model", NET];

/// Means weights as often as it means a part of a model, so it takes precedence over nothing and yields to nothing.
const NET: &str = "net";

/// How many of a dict's keys a message lists.
const LISTED: usize = 8;

type Items<'h, 'a> = &'h [(Value<'a>, Value<'a>)];

/// The tensors of the state dict that `root` is or holds, by name.
pub fn find<'a>(root: Value<'a>, heap: &Heap<'a>) -> Result<BTreeMap<&'a str, Tensor>> {
    let Value::Dict(root) = root else {
        let found = root.describe().into();
        return Err(Problem::NoStateDict { found });
    };
    let root = heap.items(root);
    let held: Vec<_> = HOLDERS
        .into_iter()
        .filter_map(|holder| Some((holder, held(root, holder, heap)?)))
        .collect();
    match held.as_slice() {
        [] => tensors(root, heap),
        [(_, only)] => tensors(only, heap),
        [.., (NET, _)] => Err(Problem::Ambiguous {
            candidates: held.into_iter().map(|(holder, _)| holder).collect(),
        }),
        [(_, first), ..] => tensors(first, heap),
    }
}

/// The dict under `holder` if any tensor is in it: a "model" may as well be a dict of settings.
fn held<'h, 'a>(root: Items<'h, 'a>, holder: &str, heap: &'h Heap<'a>) -> Option<Items<'h, 'a>> {
    let named = |(key, _): &&(Value, Value)| matches!(key, Value::Str(key) if *key == holder);
    match root.iter().rev().find(named)? {
        (_, Value::Dict(place)) => Some(heap.items(*place)).filter(|items| any_tensor(items)),
        _ => None,
    }
}

fn any_tensor(items: Items) -> bool {
    items
        .iter()
        .any(|(_, value)| matches!(value, Value::Tensor(_)))
}

fn tensors<'a>(items: Items<'_, 'a>, heap: &Heap<'a>) -> Result<BTreeMap<&'a str, Tensor>> {
    if !any_tensor(items) {
        let found = keys(items);
        return Err(Problem::NoStateDict { found });
    }
    let mut tensors = BTreeMap::new();
    for &(key, value) in items {
        let Value::Str(name) = key else {
            let found = format!("a dict with {} for a key", key.describe());
            return Err(Problem::NoStateDict { found });
        };
        let tensor = match value {
            Value::Tensor(place) => heap.tensor_at(place),
            _ => None,
        };
        let tensor = tensor.ok_or_else(|| Problem::Entry {
            key: name.into(),
            found: value.describe(),
        })?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// A dict without tensors, for a message.
fn keys(items: Items) -> String {
    let names = items.iter().filter_map(|(key, _)| match key {
        Value::Str(name) => Some(format!("{name:?}")),
        _ => None,
    });
    let names: Vec<_> = names.take(LISTED).collect();
    match names.as_slice() {
        [] => "no tensor".into(),
        names if names.len() < items.len() => {
            format!("no tensor under {} and others", names.join(", "))
        }
        names => format!("no tensor under {}", names.join(", ")),
    }
}
