//! Where training from scratch starts. The customary deviation of 0.02 suits wide models; small ones on few images stay for
//! thousands of steps where it puts them. These starts change values only, never a model's shape or format:
//!
//! - matrices: normal with deviation sqrt(2 / (inputs + outputs)) (Glorot and Bengio 2010),
//! - positions: sines and cosines of row and column, so that attention can tell places apart from the first step
//!   (Beyer et al. 2022, <https://arxiv.org/abs/2205.01580>),
//! - words of a text tower: normal, loud enough that two prompts do not start as one point.

use std::collections::BTreeMap;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};
use tch::Tensor;

use crate::error::TrainError;

/// Amplitude of the waves that stand for positions.
const POSITION_SCALE: f64 = 0.5;
/// Deviation of the vectors that stand for words: as loud as positions, so that texts differ from the first step.
const WORD_SCALE: f32 = 0.5;
/// Ratio of the longest to the shortest wave; positions are patches, of which there are few.
const WAVE_RATIO: f64 = 20.0;

/// Overwrites the weights of a new model.
pub fn from_scratch(variables: &BTreeMap<String, Tensor>, seed: u64) -> Result<(), TrainError> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    tch::no_grad(|| {
        for (name, tensor) in variables {
            let mut tensor = tensor.shallow_clone();
            let size = tensor.size();
            let start = if is_image_position(name) {
                positions(&tensor)?
            } else if name.contains("patch_embedding") && size.len() == 4 {
                glorot(&[size[0], size[1] * size[2] * size[3]], &mut random)?
            } else if name.ends_with("token_embedding.weight") {
                normal(&size, WORD_SCALE, &mut random)?
            } else if name.ends_with("weight") && size.len() == 2 && !name.contains("embedding") {
                glorot(&size, &mut random)?
            } else {
                continue;
            };
            tensor.f_copy_(&start.f_view(size.as_slice())?)?;
        }
        Ok(())
    })
}

fn is_image_position(name: &str) -> bool {
    name.contains("position_embedding") && !name.starts_with("text_model")
}

fn glorot(size: &[i64], random: &mut ChaCha8Rng) -> Result<Tensor, TrainError> {
    let deviation = (2.0 / (size[0] + size[1]) as f32).sqrt();
    normal(size, deviation, random)
}

fn normal(size: &[i64], deviation: f32, random: &mut ChaCha8Rng) -> Result<Tensor, TrainError> {
    let count = usize::try_from(size.iter().product::<i64>()).unwrap_or(0);
    let values: Vec<f32> = (0..count)
        .map(|_| {
            let value: f32 = StandardNormal.sample(random);
            value * deviation
        })
        .collect();
    Ok(Tensor::f_from_slice(&values)?)
}

/// `[1 + rows * columns, width]`: the class token's position as it was, then a quarter of the width each for sine and cosine
/// of column and row; what is left over of the width is zero.
fn positions(current: &Tensor) -> Result<Tensor, TrainError> {
    let size = current.size();
    let (places, width) = (size[size.len() - 2] as usize, size[size.len() - 1] as usize);
    let side = ((places.saturating_sub(1)) as f64).sqrt().round().max(1.0) as usize;
    let quarter = width / 4;
    let mut values = vec![0f32; places * width];
    for place in 1..places {
        let (row, column) = ((place - 1) / side, (place - 1) % side);
        for wave in 0..quarter {
            let frequency = WAVE_RATIO.powf(-(wave as f64) / quarter as f64);
            let (x, y) = (column as f64 * frequency, row as f64 * frequency);
            for (part, value) in [x.sin(), x.cos(), y.sin(), y.cos()].into_iter().enumerate() {
                values[place * width + part * quarter + wave] = (POSITION_SCALE * value) as f32;
            }
        }
    }
    let all = Tensor::f_from_slice(&values)?
        .f_view([places as i64, width as i64])?
        .f_to_device(current.device())?;
    all.f_narrow(0, 0, 1)?.f_copy_(
        &current
            .f_reshape([places as i64, width as i64])?
            .f_narrow(0, 0, 1)?,
    )?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn every_place_has_its_own_position() {
        let start = positions(&Tensor::full([1, 17, 16], 9.0, (Kind::Float, Device::Cpu))).unwrap();
        assert_eq!(start.double_value(&[0, 3]), 9.0);
        let places = start.narrow(0, 1, 16);
        let distances = Tensor::cdist(&places, &places, 2.0, None::<i64>)
            + Tensor::eye(16, (Kind::Float, Device::Cpu));
        assert!(distances.min().double_value(&[]) > 0.05);
    }

    #[test]
    fn the_seed_decides_and_norms_stay() {
        let model = |seed| {
            let zeros = |size: &[i64]| Tensor::zeros(size, (Kind::Float, Device::Cpu));
            let variables: BTreeMap<String, Tensor> = [
                ("a.weight".to_string(), zeros(&[6, 8])),
                ("norm.weight".to_string(), zeros(&[8])),
            ]
            .into();
            from_scratch(&variables, seed).unwrap();
            variables
        };
        assert_eq!(model(1)["a.weight"], model(1)["a.weight"]);
        assert_ne!(model(1)["a.weight"], model(2)["a.weight"]);
        assert_eq!(
            model(1)["norm.weight"]
                .abs()
                .sum(Kind::Double)
                .double_value(&[]),
            0.0
        );
    }
}
