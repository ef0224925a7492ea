//! The label store's train and val splits, decoded once into compact 8-bit caches at the model's input size.

use std::sync::Arc;

use rayon::prelude::*;
use saga_client::Transport;
use saga_imaging::{DecodeLimits, RgbImage};
use saga_models::diffusion::neighbours::ImageName;
use saga_proto::labelstore::v1::{
    ExtraImage, GetDatasetRequest, ReadSplitRequest, Row, Split as SplitKind,
    dataset_service_client::DatasetServiceClient,
};
use tonic::Status;

use crate::error::TrainError;
pub use crate::split::{Dataset, Split};

/// Images decoded at a time: enough to keep every core busy, few enough to stay small in memory.
const DECODE_BATCH: usize = 64;

/// Turns a decoded image into the model's input: CHW RGB bytes, side x side.
pub type Prepare = Arc<dyn Fn(&RgbImage) -> Vec<u8> + Send + Sync>;

/// Names of a data set's parts in requests.
#[derive(Clone, Debug)]
pub struct Source {
    pub dataset_id: String,
    /// Run whose accepted synthetic images join the train split; empty: none.
    pub synthetic_run_id: String,
    /// Join the train split after those.
    pub extra: Vec<ExtraImage>,
}

/// A connection to the label store.
pub struct Store {
    address: String,
    client: DatasetServiceClient<Transport>,
}

impl Store {
    /// Connects on first use.
    pub fn new(address: &str, max_message_bytes: usize) -> Result<Self, TrainError> {
        let transport = saga_client::connect_lazy(address).map_err(|error| TrainError::Store {
            address: address.into(),
            status: Box::new(Status::unavailable(error.to_string())),
        })?;
        let client = DatasetServiceClient::new(transport)
            .max_decoding_message_size(max_message_bytes)
            .max_encoding_message_size(max_message_bytes);
        Ok(Self {
            address: address.into(),
            client,
        })
    }

    /// The classes in label order, and a hash of what both splits hold: 64 hexadecimal digits, the same for the same
    /// images with the same labels in the same order. Moves no image.
    pub async fn describe(&mut self, source: &Source) -> Result<(Vec<String>, String), TrainError> {
        let request = GetDatasetRequest {
            dataset_id: source.dataset_id.clone(),
        };
        let answer = self.client.get_dataset(request).await;
        let answer = answer.map_err(|status| self.failed(status))?.into_inner();
        let classes: Vec<String> = answer
            .classes
            .into_iter()
            .map(|class| class.label)
            .collect();
        let mut content = Content::new(&classes);
        for kind in [SplitKind::Train, SplitKind::Val] {
            let mut rows = self.rows(source, kind, true).await?;
            content.split(kind);
            while let Some(row) = next(&mut rows)
                .await
                .map_err(|status| self.failed(status))?
            {
                content.row(&row);
            }
        }
        Ok((classes, content.hash()))
    }

    /// Reads both splits; the hash is [`describe`](Self::describe)'s unless they changed in between. Errors where a split is empty, a class has no training image, or an image is unusable.
    pub async fn read(
        &mut self,
        source: &Source,
        classes: Vec<String>,
        side: u32,
        max_cache_bytes: u64,
        prepare: &Prepare,
    ) -> Result<(Dataset, String), TrainError> {
        let mut content = Content::new(&classes);
        let classes = Arc::new(classes);
        let mut splits = Vec::with_capacity(2);
        for (kind, name) in [(SplitKind::Train, "train"), (SplitKind::Val, "val")] {
            let room = Room {
                split: name,
                limit: max_cache_bytes,
                side,
            };
            content.split(kind);
            let mut rows = self.rows(source, kind, false).await?;
            let split = self
                .read_split(&mut rows, &mut content, &classes, &room, prepare)
                .await?;
            if split.labels.is_empty() {
                return Err(TrainError::EmptySplit {
                    dataset: source.dataset_id.clone(),
                    split: name,
                });
            }
            splits.push(split);
        }
        let (val, train) = (
            splits.pop().unwrap_or_default(),
            splits.pop().unwrap_or_default(),
        );
        every_class_present(&classes, &train)?;
        let dataset = Dataset {
            classes: classes.to_vec(),
            side,
            train,
            val,
        };
        Ok((dataset, content.hash()))
    }

    async fn read_split(
        &self,
        rows: &mut Rows,
        content: &mut Content,
        classes: &Arc<Vec<String>>,
        room: &Room,
        prepare: &Prepare,
    ) -> Result<Split, TrainError> {
        let mut split = Split::default();
        let mut waiting = Vec::with_capacity(DECODE_BATCH);
        loop {
            let row = next(rows).await.map_err(|status| self.failed(status))?;
            row.iter().for_each(|row| content.row(row));
            let ended = row.is_none();
            split.names.extend(row.as_ref().map(name));
            split
                .synthetic
                .extend(row.as_ref().map(|row| row.synthetic));
            waiting.extend(row);
            if ended || waiting.len() == DECODE_BATCH {
                let (classes, prepare, batch) = (
                    classes.clone(),
                    prepare.clone(),
                    std::mem::take(&mut waiting),
                );
                let decoded =
                    tokio::task::spawn_blocking(move || decode(&batch, &classes, &prepare)).await;
                for (pixels, label) in
                    decoded.map_err(|error| TrainError::Thread(error.to_string()))??
                {
                    split.pixels.extend_from_slice(&pixels);
                    split.labels.push(label);
                }
                room.check(&split)?;
            }
            if ended {
                return Ok(split);
            }
        }
    }

    async fn rows(
        &mut self,
        source: &Source,
        kind: SplitKind,
        omit_data: bool,
    ) -> Result<Rows, TrainError> {
        let (synthetic, extra) = if kind == SplitKind::Train {
            (source.synthetic_run_id.clone(), source.extra.clone())
        } else {
            Default::default()
        };
        let request = ReadSplitRequest {
            dataset_id: source.dataset_id.clone(),
            split: kind.into(),
            synthetic_run_id: synthetic,
            omit_data,
            extra,
        };
        let answer = self.client.read_split(request).await;
        Ok(answer.map_err(|status| self.failed(status))?.into_inner())
    }

    fn failed(&self, status: Status) -> TrainError {
        TrainError::Store {
            address: self.address.clone(),
            status: Box::new(status),
        }
    }
}

type Rows = tonic::Streaming<saga_proto::labelstore::v1::ReadSplitResponse>;

async fn next(rows: &mut Rows) -> Result<Option<Row>, Status> {
    loop {
        match rows.message().await? {
            None => return Ok(None),
            Some(answer) => {
                if let Some(row) = answer.row {
                    return Ok(Some(row));
                }
            }
        }
    }
}

/// What both splits hold, as text to hash.
struct Content(String);

impl Content {
    fn new(classes: &[String]) -> Self {
        Self(classes.join("\n"))
    }

    fn split(&mut self, kind: SplitKind) {
        self.0.push_str(kind.as_str_name());
    }

    fn row(&mut self, row: &Row) {
        let hash = row.image.as_ref().map(|image| &image.blake3);
        let hash = hash.filter(|hash| !hash.is_empty());
        let line = format!("\n{}\t{}", row.label, hash.unwrap_or(&row.image_id));
        self.0.push_str(&line);
    }

    fn hash(&self) -> String {
        saga_imaging::blake3_hex(self.0.as_bytes())
    }
}

/// How much a split may take.
struct Room {
    split: &'static str,
    limit: u64,
    side: u32,
}

impl Room {
    fn check(&self, split: &Split) -> Result<(), TrainError> {
        if split.pixels.len() as u64 <= self.limit {
            return Ok(());
        }
        Err(TrainError::TooManyImages {
            split: self.split,
            limit: self.limit,
            side: self.side,
        })
    }
}

fn name(row: &Row) -> ImageName {
    let blake3 = row.image.as_ref().map(|image| image.blake3.clone());
    ImageName {
        image_id: row.image_id.clone(),
        blake3: blake3.unwrap_or_default(),
    }
}

fn decode(
    rows: &[Row],
    classes: &[String],
    prepare: &Prepare,
) -> Result<Vec<(Vec<u8>, u32)>, TrainError> {
    rows.par_iter()
        .map(|row| decode_row(row, classes, prepare))
        .collect()
}

fn decode_row(
    row: &Row,
    classes: &[String],
    prepare: &Prepare,
) -> Result<(Vec<u8>, u32), TrainError> {
    let bad = |why: String| TrainError::BadImage {
        image: row.image_id.clone(),
        why,
    };
    let label = classes
        .iter()
        .position(|class| *class == row.label)
        .ok_or_else(|| TrainError::UnknownLabel {
            image: row.image_id.clone(),
            label: row.label.clone(),
            classes: classes.to_vec(),
        })?;
    let data = row
        .image
        .as_ref()
        .map(|image| image.data.as_ref())
        .unwrap_or_default();
    let picture = saga_imaging::decode(data, &DecodeLimits::default())
        .map_err(|error| bad(error.to_string()))?;
    Ok((prepare(&picture), label as u32))
}

fn every_class_present(classes: &[String], train: &Split) -> Result<(), TrainError> {
    let absent = |(index, _): &(usize, &String)| !train.labels.contains(&(*index as u32));
    let labels: Vec<String> = classes
        .iter()
        .enumerate()
        .filter(absent)
        .map(|(_, label)| label.clone())
        .collect();
    if labels.is_empty() {
        Ok(())
    } else {
        Err(TrainError::ClassWithoutImages { labels })
    }
}

#[cfg(test)]
mod tests {
    use saga_proto::r#type::v1::Image;

    use super::*;

    fn classes() -> Vec<String> {
        vec!["happy".into(), "sad".into()]
    }

    fn row(label: &str, data: Vec<u8>) -> Row {
        let image = Some(Image {
            data: data.into(),
            blake3: String::new(),
        });
        Row {
            image_id: "i1".into(),
            label: label.into(),
            image,
            ..Default::default()
        }
    }

    #[test]
    fn unknown_labels_and_bad_images_are_named() {
        let prepare: Prepare = Arc::new(|_| Vec::new());
        let error = decode(&[row("angry", Vec::new())], &classes(), &prepare).unwrap_err();
        assert!(matches!(error, TrainError::UnknownLabel { label, .. } if label == "angry"));
        let error = decode(&[row("sad", b"text".to_vec())], &classes(), &prepare).unwrap_err();
        assert!(matches!(error, TrainError::BadImage { image, .. } if image == "i1"));
    }

    #[test]
    fn a_class_without_training_images_is_an_error() {
        let train = Split {
            labels: vec![1, 1],
            ..Default::default()
        };
        let error = every_class_present(&classes(), &train).unwrap_err();
        assert!(matches!(error, TrainError::ClassWithoutImages { labels } if labels == ["happy"]));
    }

    #[test]
    fn the_memory_limit_is_inclusive() {
        let room = Room {
            split: "train",
            limit: 4,
            side: 1,
        };
        assert!(
            room.check(&Split {
                pixels: vec![0; 4],
                ..Default::default()
            })
            .is_ok()
        );
        assert!(
            room.check(&Split {
                pixels: vec![0; 5],
                ..Default::default()
            })
            .is_err()
        );
    }
}
