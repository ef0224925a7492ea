//! A label store in memory: squares of one colour a class, with noise.

use std::pin::Pin;

use futures::{Stream, stream};
use saga_chassis::{Server, ServerConfig};
use saga_proto::{
    labelstore::v1::{
        ExtraImage,
        dataset_service_server::{DatasetService, DatasetServiceServer},
        *,
    },
    r#type::v1::Image,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// In label order.
pub const CLASSES: [&str; 3] = ["red", "blue", "grey"];

/// What the store answers.
#[derive(Clone)]
pub struct FakeStore {
    /// The labels that images come with are the next image's.
    relabelled: bool,
    classes: Vec<String>,
    train: Vec<Row>,
    val: Vec<Row>,
}

impl FakeStore {
    /// 24 train and 9 val images, classes told apart by colour.
    pub fn separable() -> Self {
        let rows = |split: &str, count: usize| {
            (0..count)
                .map(|index| row(split, CLASSES[index % 3], index))
                .collect()
        };
        Self {
            relabelled: false,
            classes: CLASSES.map(String::from).to_vec(),
            train: rows("train", 24),
            val: rows("val", 9),
        }
    }

    /// Every second train image is synthetic.
    pub fn with_synthetic(mut self) -> Self {
        let rows = self.train.iter_mut().step_by(2);
        rows.for_each(|row| row.synthetic = true);
        self
    }

    pub fn without_val(self) -> Self {
        Self {
            val: Vec::new(),
            ..self
        }
    }

    /// Labels change after the list of images was read.
    pub fn relabelled_while_read(self) -> Self {
        Self {
            relabelled: true,
            ..self
        }
    }

    pub fn with_class(mut self, label: &str) -> Self {
        self.classes.push(label.into());
        self
    }

    /// Another name of a class, its images as they were.
    pub fn renamed(mut self, from: &str, to: &str) -> Self {
        let labels = self.train.iter_mut().chain(&mut self.val);
        let labels = labels.map(|row| &mut row.label).chain(&mut self.classes);
        labels
            .filter(|label| *label == from)
            .for_each(|label| *label = to.into());
        self
    }

    pub fn with_row(mut self, label: &str) -> Self {
        self.train.push(Row {
            label: label.into(),
            ..row("train", "red", 99)
        });
        self
    }

    pub fn with_broken_image(mut self) -> Self {
        let image = Some(Image {
            data: b"not a picture".to_vec().into(),
            blake3: String::new(),
        });
        self.train.push(Row {
            image,
            ..row("train", "red", 99)
        });
        self
    }

    /// Serves until `shutdown`; answers the address.
    pub async fn start(self, shutdown: CancellationToken) -> String {
        let config = ServerConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            ..ServerConfig::default()
        };
        let server = Server::bind("label-store", &config).await.unwrap();
        let running = server
            .add_service(DatasetServiceServer::new(self))
            .start(shutdown)
            .unwrap();
        running.addr.to_string()
    }
}

fn row(split: &str, label: &str, index: usize) -> Row {
    let data = picture(label, index);
    let blake3 = saga_imaging::blake3_hex(&data);
    Row {
        image_id: format!("{split}-{index}"),
        label: label.into(),
        image: Some(Image {
            data: data.into(),
            blake3,
        }),
        ..Default::default()
    }
}

/// 20x24 pixels; every fourth is grey of one channel, as from an old camera.
fn picture(label: &str, index: usize) -> Vec<u8> {
    let colour: [u8; 3] = match label {
        "red" => [200, 40, 40],
        "blue" => [40, 40, 200],
        _ => [120, 120, 120],
    };
    let noise = |x: u32, y: u32| ((x * 31 + y * 17 + index as u32 * 13) % 40) as u8;
    let picture = image::RgbImage::from_fn(20, 24, |x, y| {
        image::Rgb(colour.map(|value| value + noise(x, y)))
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    if label == "grey" && index.is_multiple_of(4) {
        image::DynamicImage::from(picture)
            .to_luma8()
            .write_to(&mut bytes, image::ImageFormat::Png)
            .unwrap();
    } else {
        picture
            .write_to(&mut bytes, image::ImageFormat::Png)
            .unwrap();
    }
    bytes.into_inner()
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl DatasetService for FakeStore {
    type ImportDatasetStream = Answers<ImportDatasetResponse>;
    type ReadSplitStream = Answers<ReadSplitResponse>;
    type ExportRunStream = Answers<ExportRunResponse>;

    async fn get_dataset(
        &self,
        request: Request<GetDatasetRequest>,
    ) -> Result<Response<GetDatasetResponse>, Status> {
        let dataset_id = request.into_inner().dataset_id;
        if dataset_id != "toy" {
            return Err(Status::not_found(format!("no data set '{dataset_id}'")));
        }
        let classes = self
            .classes
            .iter()
            .map(|label| ClassCounts {
                label: label.clone(),
                ..Default::default()
            })
            .collect();
        Ok(Response::new(GetDatasetResponse {
            dataset_id,
            classes,
            ..Default::default()
        }))
    }

    async fn read_split(
        &self,
        request: Request<ReadSplitRequest>,
    ) -> Result<Response<Self::ReadSplitStream>, Status> {
        let request = request.into_inner();
        let extra = |extra: &ExtraImage| Row {
            label: extra.label.clone(),
            ..self
                .train
                .iter()
                .find(|row| row.image_id == extra.image_id)
                .unwrap()
                .clone()
        };
        let mut rows: Vec<Row> = match request.split() {
            Split::Train => self
                .train
                .iter()
                .cloned()
                .chain(request.extra.iter().map(extra))
                .collect(),
            Split::Val => self.val.clone(),
            _ => return Err(Status::permission_denied("this split is sealed")),
        };
        if self.relabelled && !request.omit_data {
            let labels: Vec<String> = rows.iter().map(|row| row.label.clone()).collect();
            for (row, label) in rows.iter_mut().zip(labels.into_iter().cycle().skip(1)) {
                row.label = label;
            }
        }
        let answer = move |mut row: Row| {
            if let (true, Some(image)) = (request.omit_data, row.image.as_mut()) {
                image.data.clear();
            }
            Ok(ReadSplitResponse { row: Some(row) })
        };
        Ok(Response::new(Box::pin(stream::iter(
            rows.into_iter().map(answer),
        ))))
    }

    async fn import_dataset(
        &self,
        _: Request<ImportDatasetRequest>,
    ) -> Result<Response<Self::ImportDatasetStream>, Status> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn split_dataset(
        &self,
        _: Request<SplitDatasetRequest>,
    ) -> Result<Response<SplitDatasetResponse>, Status> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn get_image(
        &self,
        _: Request<GetImageRequest>,
    ) -> Result<Response<GetImageResponse>, Status> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn export_run(
        &self,
        _: Request<ExportRunRequest>,
    ) -> Result<Response<Self::ExportRunStream>, Status> {
        Err(Status::unimplemented("not needed here"))
    }
}
