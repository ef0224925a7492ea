//! LoRA (Hu et al. 2022): small changes of weights, merged once at load, from files as diffusers, PEFT and kohya-ss write them.

use crate::checkpoint::{self, Tensors};
use crate::error::{ModelError, Result, WeightMismatch};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tch::{Kind, Tensor};

/// A file of changes and how strongly they are applied, 1 as trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    pub path: PathBuf,
    pub scale: f64,
}

/// Which part of a pipeline a change is of: prefixes of its names.
const PARTS: [(&str, Part); 4] = [
    ("unet.", Part::UNet),
    ("lora_unet_", Part::UNet),
    ("text_encoder.", Part::TextEncoder),
    ("lora_te_", Part::TextEncoder),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    UNet,
    TextEncoder,
}

/// What follows a map's name, and which of its tensors that is.
const SUFFIXES: [(&str, Side); 11] = [
    (".lora_A.weight", Side::Down),
    (".lora_B.weight", Side::Up),
    (".lora_down.weight", Side::Down),
    (".lora_up.weight", Side::Up),
    (".lora.down.weight", Side::Down),
    (".lora.up.weight", Side::Up),
    ("_lora.down.weight", Side::Down),
    ("_lora.up.weight", Side::Up),
    (".lora_linear_layer.down.weight", Side::Down),
    (".lora_linear_layer.up.weight", Side::Up),
    (".alpha", Side::Alpha),
];

#[derive(Clone, Copy)]
enum Side {
    /// [rank, inputs]
    Down,
    /// [outputs, rank]
    Up,
    /// What the change is scaled by, over its rank.
    Alpha,
}

/// The change of one map.
#[derive(Default)]
struct Change {
    down: Option<Tensor>,
    up: Option<Tensor>,
    alpha: Option<Tensor>,
}

/// The changes of a file by part and map.
pub(super) struct Changes {
    path: PathBuf,
    scale: f64,
    unet: BTreeMap<String, Change>,
    text_encoder: BTreeMap<String, Change>,
}

impl Changes {
    /// # Errors
    /// [`ModelError::Component`] naming the file: absent, malformed, or with tensors that are no such change.
    pub(super) fn read(lora: &Lora) -> Result<Self> {
        let mut changes = Self {
            path: lora.path.clone(),
            scale: lora.scale,
            unet: BTreeMap::new(),
            text_encoder: BTreeMap::new(),
        };
        let mut surplus = Vec::new();
        let of_file = ModelError::component(&lora.path);
        for (name, tensor) in checkpoint::of_file(&lora.path).map_err(of_file)? {
            match parsed(&name) {
                Some((part, map, side)) => changes.keep(part, map, side, tensor),
                None => surplus.push(name),
            }
        }
        if !surplus.is_empty() {
            let mismatch = WeightMismatch {
                surplus,
                ..WeightMismatch::default()
            };
            return Err(ModelError::component(&lora.path)(mismatch.into()));
        }
        Ok(changes)
    }

    fn keep(&mut self, part: Part, map: String, side: Side, tensor: Tensor) {
        let change = self.of(part).entry(map).or_default();
        let slot = match side {
            Side::Down => &mut change.down,
            Side::Up => &mut change.up,
            Side::Alpha => &mut change.alpha,
        };
        *slot = Some(tensor);
    }

    fn of(&mut self, part: Part) -> &mut BTreeMap<String, Change> {
        match part {
            Part::UNet => &mut self.unet,
            Part::TextEncoder => &mut self.text_encoder,
        }
    }

    /// Adds the changes of `part` to its tensors.
    ///
    /// # Errors
    /// [`ModelError::Component`] naming the file, with changes of what is not there or has another shape.
    pub(super) fn merge(&mut self, part: Part, tensors: &mut Tensors) -> Result<()> {
        let (path, scale) = (self.path.clone(), self.scale);
        let names: BTreeMap<String, String> = tensors
            .keys()
            .filter_map(|name| Some((flat(name.strip_suffix(".weight")?), name.clone())))
            .collect();
        let mut mismatch = WeightMismatch::default();
        for (map, change) in std::mem::take(self.of(part)) {
            // The map of attention's output is the first of two modules, which older names leave out.
            let name = names.get(&map).or_else(|| names.get(&format!("{map}_0")));
            let Some((name, weight)) = name.and_then(|name| tensors.get_key_value(name)) else {
                mismatch.surplus.push(map);
                continue;
            };
            match change.applied(weight, scale)? {
                Some(changed) => drop(tensors.insert(name.clone(), changed)),
                None => mismatch.misshapen.push(format!(
                    "{map}: not two factors of a change of {:?}",
                    weight.size()
                )),
            }
        }
        match mismatch.is_empty() {
            true => Ok(()),
            false => Err(ModelError::component(&path)(mismatch.into())),
        }
    }
}

impl Change {
    /// The changed weight in f32; none where the factors do not fit it.
    fn applied(&self, weight: &Tensor, scale: f64) -> Result<Option<Tensor>> {
        let (Some(down), Some(up)) = (&self.down, &self.up) else {
            return Ok(None);
        };
        let (shape, down_shape, up_shape) = (weight.size(), down.size(), up.size());
        let (
            &[outputs, ref inputs @ ..],
            &[rank, ref down_inputs @ ..],
            &[up_outputs, up_rank, ..],
        ) = (shape.as_slice(), down_shape.as_slice(), up_shape.as_slice())
        else {
            return Ok(None);
        };
        let count = |sides: &[i64]| sides.iter().product::<i64>();
        let fits = outputs == up_outputs && rank == up_rank && rank > 0;
        if !fits || count(inputs) != count(down_inputs) || up.numel() as i64 != outputs * rank {
            return Ok(None);
        }
        let alpha = match &self.alpha {
            Some(alpha) => alpha
                .f_to_kind(Kind::Double)?
                .f_sum(Kind::Double)?
                .f_double_value(&[])?,
            None => rank as f64,
        };
        let matrix = |tensor: &Tensor, rows| -> Result<Tensor> {
            Ok(tensor.f_to_kind(Kind::Float)?.f_reshape([rows, -1])?)
        };
        let change = matrix(up, outputs)?
            .f_matmul(&matrix(down, rank)?)?
            .f_mul_scalar(scale * alpha / rank as f64)?
            .f_reshape(&shape)?;
        Ok(Some(weight.f_to_kind(Kind::Float)?.f_add(&change)?))
    }
}

/// A tensor's name as the part, map and factor that it is of. Names of maps are compared with underscores for dots, as kohya-ss
/// writes them.
fn parsed(name: &str) -> Option<(Part, String, Side)> {
    let name = name.strip_prefix("base_model.model.").unwrap_or(name);
    let with = |(suffix, side): (&str, Side)| Some((name.strip_suffix(suffix)?, side));
    let (map, side) = SUFFIXES.into_iter().find_map(with)?;
    let of = |(prefix, part): (&str, Part)| Some((map.strip_prefix(prefix)?, part));
    let (map, part) = PARTS.into_iter().find_map(of)?;
    Some((part, flat(&map.replace(".processor.", ".")), side))
}

fn flat(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_layout_are_of_the_same_map() {
        let map = "mid_block_attentions_0_attn1_to_q";
        for name in [
            "unet.mid_block.attentions.0.attn1.to_q.lora_A.weight",
            "base_model.model.unet.mid_block.attentions.0.attn1.to_q.lora_A.weight",
            "unet.mid_block.attentions.0.attn1.to_q.lora.down.weight",
            "unet.mid_block.attentions.0.attn1.processor.to_q_lora.down.weight",
            "lora_unet_mid_block_attentions_0_attn1_to_q.lora_down.weight",
        ] {
            let (part, found, side) = parsed(name).unwrap();
            assert!(matches!(side, Side::Down), "{name}");
            assert_eq!((part, found.as_str()), (Part::UNet, map), "{name}");
        }
        let (part, found, _) = parsed("text_encoder.a.q_proj.lora_linear_layer.up.weight").unwrap();
        assert_eq!((part, found.as_str()), (Part::TextEncoder, "a_q_proj"));
        assert!(parsed("vae.a.lora_A.weight").is_none());
    }
}
