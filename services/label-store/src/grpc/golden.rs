//! GoldenService.

use saga_proto::labelstore::v1::{self, golden_service_server::GoldenService};
use tonic::{Request, Response, Status};

use super::{Answers, Service, Streaming, real_row, timestamp};
use crate::{
    error::StoreError,
    golden::{self, GoldenRead, Unsealed},
    images,
    split::Side,
    store::Store,
};

#[tonic::async_trait]
impl GoldenService for Service {
    type ReadGoldenStream = Streaming<v1::ReadGoldenResponse>;

    async fn read_golden(
        &self,
        request: Request<v1::ReadGoldenRequest>,
    ) -> Result<Response<Self::ReadGoldenStream>, Status> {
        let v1::ReadGoldenRequest {
            dataset_id,
            reader,
            purpose,
            run_id,
        } = request.into_inner();
        let unsealed = golden::unseal(&self.store, &dataset_id, &reader, &purpose, &run_id).await;
        let unsealed = unsealed.map_err(|e| self.status(&e))?;
        Ok(self.stream(|store, answers| read(store, unsealed, answers)))
    }

    async fn list_golden_reads(
        &self,
        request: Request<v1::ListGoldenReadsRequest>,
    ) -> Result<Response<v1::ListGoldenReadsResponse>, Status> {
        let reads = golden::reads(&self.store, &request.into_inner().dataset_id).await;
        self.answer(reads.map(|reads| v1::ListGoldenReadsResponse {
            reads: reads.into_iter().map(message).collect(),
        }))
    }
}

async fn read(
    store: Store,
    unsealed: Unsealed,
    answers: Answers<v1::ReadGoldenResponse>,
) -> Result<(), StoreError> {
    let dataset = unsealed.dataset;
    let mut after = String::new();
    loop {
        let page = images::page(&store, &dataset.id, Side::Golden, &after).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after.clone_from(&last.path);
        for row in page {
            let row = real_row(&store, &dataset, row, true).await?;
            if !answers
                .send(v1::ReadGoldenResponse { row: Some(row) })
                .await
            {
                return Ok(());
            }
        }
    }
}

fn message(read: GoldenRead) -> v1::GoldenRead {
    v1::GoldenRead {
        time: Some(timestamp(read.time)),
        reader: read.reader,
        purpose: read.purpose,
        run_id: read.run_id,
    }
}
