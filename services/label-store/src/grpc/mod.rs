//! Transport only: messages to domain values and back, streams, and statuses.

mod candidate;
mod dataset;
mod extra;
mod golden;
mod ledger;
mod registry;
mod run;

use std::{future::Future, pin::Pin};

use futures::Stream;
use prost::bytes::Bytes;
use prost_types::Timestamp;
use saga_proto::{labelstore::v1, r#type::v1::Image};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};
use tracing::Instrument as _;

use crate::{
    dataset::Dataset,
    error::{StoreError, to_status},
    images::ImageRow,
    store::{Store, blocking},
};

/// Answers that a stream holds ready at most.
const AHEAD: usize = 8;

/// The services over one store.
#[derive(Clone, Debug)]
pub struct Service {
    store: Store,
}

type Streaming<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Where a stream's answers go; an error means that nobody listens any more.
struct Answers<T>(mpsc::Sender<Result<T, Status>>);

impl<T> Answers<T> {
    /// Sends an answer; false where the caller has left.
    async fn send(&self, answer: T) -> bool {
        self.0.send(Ok(answer)).await.is_ok()
    }
}

impl Service {
    /// Serves a store.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// An answer, or the status of an error.
    fn answer<T>(&self, result: Result<T, StoreError>) -> Result<Response<T>, Status> {
        result.map(Response::new).map_err(|e| self.status(&e))
    }

    fn status(&self, error: &StoreError) -> Status {
        let status = to_status(error, &self.store.config.store.data_dir);
        if matches!(
            status.code(),
            tonic::Code::Internal | tonic::Code::DataLoss | tonic::Code::ResourceExhausted
        ) {
            tracing::error!(%error, "request failed");
        }
        status
    }

    /// Runs `work` beside the answers it sends.
    fn stream<T, F>(&self, work: impl FnOnce(Store, Answers<T>) -> F) -> Response<Streaming<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (service, errors) = (self.clone(), sender.clone());
        let work = work(self.store.clone(), Answers(sender));
        let task = async move {
            if let Err(error) = work.await {
                // Where this fails too, the caller has left and needs no answer.
                let _ = errors.send(Err(service.status(&error))).await;
            }
        };
        tokio::spawn(task.in_current_span());
        Response::new(Box::pin(ReceiverStream::new(receiver)))
    }
}

/// Of milliseconds since 1970.
fn timestamp(ms: i64) -> Timestamp {
    Timestamp {
        seconds: ms.div_euclid(1_000),
        nanos: i32::try_from(ms.rem_euclid(1_000) * 1_000_000).unwrap_or(0),
    }
}

/// A stored image with its bytes, or with its hash alone.
async fn image(store: &Store, blake3: &str, with_data: bool) -> Result<Image, StoreError> {
    let blake3 = blake3.to_owned();
    let data = if with_data {
        let (blobs, blake3) = (store.blobs.clone(), blake3.clone());
        Bytes::from(blocking(move || blobs.read(&blake3)).await?)
    } else {
        Bytes::new()
    };
    Ok(Image { data, blake3 })
}

/// A real image as a message.
async fn real_row(
    store: &Store,
    dataset: &Dataset,
    row: ImageRow,
    with_data: bool,
) -> Result<v1::Row, StoreError> {
    Ok(v1::Row {
        label: dataset.label(row.label)?.to_owned(),
        image: Some(image(store, &row.blake3, with_data).await?),
        image_id: row.id,
        subject: row.subject,
        synthetic: false,
        path: row.path,
    })
}
