//! `StudioService`: the rendered data set as a stream.

use std::collections::{BTreeMap, HashMap};

use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryFutureExt as _};
use prost::bytes::Bytes;
use saga_proto::generator::v1::studio_service_server::StudioService;
use saga_proto::generator::v1::{RenderDatasetRequest, RenderDatasetResponse};
use saga_proto::r#type::v1::Image;
use tonic::{Request, Response, Status};

use crate::error::GenerateError;
use crate::pool::Pool;
use crate::studio::{DatasetItem, Label, StudioError, plan};

/// Side of the pictures where the request leaves it open, in pixels.
const DEFAULT_SIZE: u32 = 128;

/// `StudioService` on a pool.
#[derive(Clone)]
pub struct Studio {
    pool: Pool,
}

impl Studio {
    /// Renders on `pool`.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

#[tonic::async_trait]
impl StudioService for Studio {
    type RenderDatasetStream = BoxStream<'static, Result<RenderDatasetResponse, Status>>;

    async fn render_dataset(
        &self,
        request: Request<RenderDatasetRequest>,
    ) -> Result<Response<Self::RenderDatasetStream>, Status> {
        let request = request.into_inner();
        let size = if request.size == 0 {
            DEFAULT_SIZE
        } else {
            request.size
        };
        let counts = counts(request.counts)?;
        let plan = plan(request.seed, counts.as_ref(), size).map_err(|error| invalid(&error))?;
        let items = plan.items().to_vec();
        let total = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let pool = self.pool.clone();
        let answers = stream::iter(items).map(move |item| {
            let pool = pool.clone();
            async move {
                pool.run(move || render(&item, total))
                    .map_err(Status::from)
                    .await
            }
        });
        // One picture more than there are threads, so that none of them waits for the network.
        Ok(Response::new(
            answers.buffered(self.pool.workers() + 1).boxed(),
        ))
    }
}

/// No counts: the studio's own long tail.
fn counts(counts: HashMap<String, u32>) -> Result<Option<BTreeMap<Label, u32>>, GenerateError> {
    if counts.is_empty() {
        return Ok(None);
    }
    let label = |name: &str| {
        name.parse::<Label>().map_err(|error| {
            GenerateError::invalid(format!("counts[\"{name}\"]"), error.to_string())
        })
    };
    counts
        .iter()
        .map(|(name, count)| Ok((label(name)?, *count)))
        .collect::<Result<_, _>>()
        .map(Some)
}

fn invalid(error: &StudioError) -> GenerateError {
    let field = if matches!(error, StudioError::Size(_)) {
        "size"
    } else {
        "counts"
    };
    GenerateError::invalid(field, error.to_string())
}

fn render(item: &DatasetItem, total: u32) -> Result<RenderDatasetResponse, GenerateError> {
    let data = Bytes::from(
        item.render()
            .map_err(|error| GenerateError::Internal(error.to_string()))?,
    );
    let blake3 = saga_imaging::blake3_hex(&data);
    Ok(RenderDatasetResponse {
        path: item.path.clone(),
        label: item.label.name().to_owned(),
        subject: item.subject.clone(),
        image: Some(Image { data, blake3 }),
        total,
    })
}
