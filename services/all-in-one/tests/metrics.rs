//! Each service of one process shows its own figures.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use all_in_one::{AllInOne, Options};
use saga_chassis::metrics::scrape;
use saga_proto::gate::v1::{DescribeRequest, gate_service_client::GateServiceClient};

#[tokio::test]
async fn a_call_of_one_service_shows_in_its_metrics_alone() {
    let folder = tempfile::tempdir().unwrap();
    let services = AllInOne::start(Options {
        metrics_port: Some(0),
        ..common::options(folder.path())
    })
    .await
    .unwrap();
    let ssim = saga_client::connect(&services.addresses().ssim_gate).await;
    let mut gate = GateServiceClient::new(ssim.unwrap());
    gate.describe(DescribeRequest {}).await.unwrap();

    let described = "saga_grpc_requests_total{service=\"saga.gate.v1.GateService\",method=\"Describe\",code=\"OK\"} 1";
    let mut scraped = Vec::new();
    for (service, address) in services.metrics_addresses() {
        let metrics = scrape(address, "GET /metrics").await.unwrap();
        assert!(metrics.starts_with("HTTP/1.1 200"), "{service}: {metrics}");
        let shown = metrics.lines().any(|line| line == described);
        assert_eq!(shown, service == "ssim-gate", "{service}: {metrics}");
        scraped.push(service);
    }
    assert_eq!(scraped.len(), services.addresses().named().count());
    services.stop().await.unwrap();
}
