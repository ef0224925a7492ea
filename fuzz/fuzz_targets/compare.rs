//! `SsimService.Compare`.

#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use saga_chassis::{ServerConfig, limited};
use saga_fuzz::{image::Image, service::Service};
use saga_proto::ssim::v1::{CompareRequest, ssim_service_client::SsimServiceClient};

static SERVICE: LazyLock<Service> = LazyLock::new(Service::ssim_gate);
static LIMITS: LazyLock<ServerConfig> = LazyLock::new(ServerConfig::default);

#[derive(Debug, Arbitrary)]
struct Compare {
    reference: Option<Image>,
    image: Option<Image>,
    with_map: bool,
}

fuzz_target!(|compare: Compare| {
    let with_map = compare.with_map;
    let request = CompareRequest {
        reference: compare.reference.map(Into::into),
        image: compare.image.map(Into::into),
        with_map,
    };
    // A map of many windows is a larger message than clients take by default.
    let ask = async |routes| {
        limited!(SsimServiceClient::new(routes), LIMITS)
            .compare(request)
            .await
    };
    if let Some(answer) = SERVICE.ask(ask) {
        assert!((-1.0..=1.0).contains(&answer.ssim), "{}", answer.ssim);
        let windows = (answer.width - 6) * (answer.height - 6);
        assert_eq!(
            answer.map.len(),
            if with_map { windows as usize } else { 0 }
        );
    }
});
