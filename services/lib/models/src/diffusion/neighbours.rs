//! How near pictures come to those that a model was trained on: what a model memorised lies nearer to a training image than
//! training images lie to each other (Carlini et al. 2023 look for the same).
//!
//! The distance is the root of the mean square difference of grey levels, 0 to 255, at 32x32 pixels: it finds copies, not
//! likenesses of a person. `neighbours.safetensors` beside a model holds `thumbnails` [N, 32, 32] of its training images, and
//! `distances` [N] of each to the nearest other; the names of the images are JSON in the metadata. Thumbnails show the
//! data set, so that `saga publish` leaves the file out.

use crate::error::{ModelError, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use saga_imaging::{Filter, RgbImage, grey, resize};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;
use tch::{Kind, Tensor};

/// The file beside a model, which must not leave with it.
pub const FILE: &str = "neighbours.safetensors";
const SIDE: u32 = 32;
const LEVELS: usize = (SIDE * SIDE) as usize;
/// Rows that are compared with all others at a time.
const ROWS: i64 = 256;

/// A training image's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageName {
    pub image_id: String,
    /// Of its encoded bytes, hexadecimal; empty where unknown.
    pub blake3: String,
}

/// The training images of a model.
pub struct Neighbours {
    images: Vec<ImageName>,
    /// Grey levels [N, 1024] in f32.
    thumbnails: Tensor,
    /// Of each image to the nearest other.
    distances: Vec<f32>,
}

/// The training image that is nearest to a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Nearest {
    pub image_id: String,
    /// Root mean square difference of grey levels.
    pub distance: f64,
    /// Share of the training images that are nearer to the nearest other one than the picture is to this one: about
    /// uniform between 0 and 1 of pictures like the real ones, near 0 of copies.
    pub share: f64,
}

impl Neighbours {
    /// Of pictures with their names, compared with each other.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn new<'a>(
        images: Vec<ImageName>,
        pictures: impl Iterator<Item = &'a RgbImage>,
    ) -> Result<Self> {
        let levels: Vec<u8> = pictures.flat_map(thumbnail).collect();
        let thumbnails = rows(&levels)?;
        let mut distances = Vec::with_capacity(images.len());
        for first in (0..thumbnails.size2()?.0).step_by(ROWS as usize) {
            let count = ROWS.min(thumbnails.size2()?.0 - first);
            let squares = squares(&thumbnails.f_narrow(0, first, count)?, &thumbnails)?;
            // Not itself.
            let _ = squares.f_diagonal(first, 0, 1)?.f_fill_(f64::INFINITY)?;
            let (nearest, _) = squares.f_min_dim(1, false)?;
            distances.extend(Vec::<f32>::try_from(nearest.f_sqrt()?)?);
        }
        Ok(Self {
            images,
            thumbnails,
            distances,
        })
    }

    /// Reads the file in a model's directory.
    ///
    /// # Errors
    /// A file that is absent or malformed.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let bytes = std::fs::read(&path).map_err(ModelError::io(&path))?;
        let invalid = |source| ModelError::Safetensors {
            path: path.clone(),
            source,
        };
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(invalid)?;
        let names = metadata
            .metadata()
            .as_ref()
            .and_then(|map| map.get("images"));
        let names = names.map_or("", String::as_str);
        let images: Vec<ImageName> =
            serde_json::from_str(names).map_err(ModelError::json(&path))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(invalid)?;
        let thumbnails = tensors.tensor("thumbnails").map_err(invalid)?;
        let distances = tensors.tensor("distances").map_err(invalid)?;
        let distances: Vec<f32> = distances
            .data()
            .chunks_exact(4)
            .filter_map(|bytes| Some(f32::from_le_bytes(bytes.try_into().ok()?)))
            .collect();
        let levels = thumbnails.data();
        if levels.len() != images.len() * LEVELS || distances.len() != images.len() {
            let (names, sides) = (images.len(), thumbnails.shape());
            return Err(ModelError::Input(format!(
                "{} holds {names} names, thumbnails of {sides:?} and {} distances; they must be as many, of {SIDE}x{SIDE}",
                path.display(),
                distances.len()
            )));
        }
        Ok(Self {
            thumbnails: rows(levels)?,
            images,
            distances,
        })
    }

    /// Writes the file into a model's directory.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let invalid = |source| ModelError::Safetensors {
            path: path.clone(),
            source,
        };
        let levels = self.thumbnails.f_to_kind(Kind::Uint8)?.f_reshape([-1])?;
        let levels = Vec::<u8>::try_from(levels)?;
        let distances: Vec<u8> = self
            .distances
            .iter()
            .flat_map(|d| d.to_le_bytes())
            .collect();
        let (count, side) = (self.images.len(), SIDE as usize);
        let thumbnails = TensorView::new(Dtype::U8, vec![count, side, side], &levels);
        let distances = TensorView::new(Dtype::F32, vec![count], &distances);
        let views = [
            ("thumbnails", thumbnails.map_err(invalid)?),
            ("distances", distances.map_err(invalid)?),
        ];
        let names = serde_json::to_string(&self.images).map_err(ModelError::json(&path))?;
        let metadata = HashMap::from([("images".to_owned(), names)]);
        safetensors::serialize_to_file(views, Some(metadata), &path).map_err(invalid)
    }

    /// The training image nearest to a picture, other than the one with the hash `except`; `None` where there is no other.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn nearest(&self, picture: &RgbImage, except: &str) -> Result<Option<Nearest>> {
        let squares = squares(&rows(&thumbnail(picture))?, &self.thumbnails)?;
        let squares = Vec::<f32>::try_from(squares.f_reshape([-1])?)?;
        let others = self.images.iter().zip(squares);
        let others = others.filter(|(image, _)| except.is_empty() || image.blake3 != except);
        let nearest = others.min_by(|(_, a), (_, b)| a.total_cmp(b));
        Ok(nearest.map(|(image, square)| {
            let distance = square.sqrt();
            let nearer = self.distances.iter().filter(|own| **own < distance).count();
            Nearest {
                image_id: image.image_id.clone(),
                distance: f64::from(distance),
                share: nearer as f64 / self.distances.len().max(1) as f64,
            }
        }))
    }
}

/// Grey levels at 32x32 pixels.
fn thumbnail(picture: &RgbImage) -> Vec<u8> {
    grey(&resize(picture, SIDE, SIDE, Filter::Bilinear)).into_raw()
}

/// [N, 1024] in f32.
fn rows(levels: &[u8]) -> Result<Tensor> {
    Ok(Tensor::f_from_slice(levels)?
        .f_reshape([-1, LEVELS as i64])?
        .f_to_kind(Kind::Float)?)
}

/// Mean square differences [rows, N], at least 0. In f64, because f32 loses small differences of large squares.
fn squares(rows: &Tensor, all: &Tensor) -> Result<Tensor> {
    let (rows, all) = (rows.f_to_kind(Kind::Double)?, all.f_to_kind(Kind::Double)?);
    let norm = |x: &Tensor| x.f_square()?.f_sum_dim_intlist(1i64, true, Kind::Double);
    let products = rows.f_matmul(&all.f_tr()?)?.f_mul_scalar(-2.0)?;
    let sums = products.f_add(&norm(&rows)?)?.f_add(&norm(&all)?.f_tr()?)?;
    let means = sums.f_div_scalar(LEVELS as f64)?.f_clamp_min(0.0)?;
    Ok(means.f_to_kind(Kind::Float)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uniform pictures of these levels, named by them.
    fn neighbours(levels: &[u8]) -> Neighbours {
        let pictures: Vec<RgbImage> = levels.iter().map(|level| picture(*level)).collect();
        let names = levels.iter().map(|level| ImageName {
            image_id: level.to_string(),
            blake3: format!("hash-{level}"),
        });
        Neighbours::new(names.collect(), pictures.iter()).unwrap()
    }

    fn picture(level: u8) -> RgbImage {
        RgbImage::from_pixel(40, 48, image::Rgb([level; 3]))
    }

    #[test]
    fn distances_are_those_of_grey_levels_and_the_source_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        neighbours(&[10, 20, 50, 200]).write(dir.path()).unwrap();
        let found = Neighbours::load(dir.path()).unwrap();
        let nearest = |level, except| found.nearest(&picture(level), except).unwrap().unwrap();
        let near = nearest(23, "");
        assert_eq!(near.image_id, "20");
        assert!((near.distance - 3.0).abs() < 0.01, "{near:?}");
        // The others are 10, 10, 30 and 150 from their nearest.
        assert_eq!(near.share, 0.0);
        let other = nearest(23, "hash-20");
        assert_eq!((other.image_id.as_str(), other.share), ("10", 0.5));
        assert!((other.distance - 13.0).abs() < 0.01, "{other:?}");
    }

    #[test]
    fn more_rows_than_are_compared_at_a_time_are_all_compared() {
        let levels: Vec<u8> = (0..300).map(|level| (level % 256) as u8).collect();
        let found = neighbours(&levels);
        assert_eq!(found.distances.len(), 300);
        // The first 44 levels come twice.
        let doubled = found.distances.iter().filter(|own| **own < 0.1).count();
        assert_eq!(doubled, 88);
    }

    #[test]
    fn a_single_image_has_no_other() {
        let found = neighbours(&[10]);
        assert_eq!(found.nearest(&picture(10), "hash-10").unwrap(), None);
        assert!(found.nearest(&picture(10), "").unwrap().is_some());
    }

    #[test]
    fn a_file_that_disagrees_with_itself_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut wrong = neighbours(&[10, 20]);
        wrong.images.pop();
        wrong.thumbnails = rows(&[0; 1024]).unwrap();
        assert!(wrong.write(dir.path()).is_err());
        let absent = Neighbours::load(dir.path()).err().unwrap().to_string();
        assert!(absent.contains(FILE), "{absent}");
    }
}
