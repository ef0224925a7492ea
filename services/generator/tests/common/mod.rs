//! A generator on loopback, and requests that it can meet.
#![allow(dead_code, reason = "each test takes what it needs")]

use generator::studio::{Label, plan};
use image::{GrayImage, Luma};
use saga_chassis::Running;
use saga_client::Transport;
use saga_proto::generator::v1::generator_service_client::GeneratorServiceClient;
use saga_proto::generator::v1::studio_service_client::StudioServiceClient;
use saga_proto::generator::v1::{Candidate, CandidateSpec, GenerateRequest};
use saga_proto::r#type::v1::Image;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// A running generator with clients.
pub(crate) struct Generator {
    pub(crate) client: GeneratorServiceClient<Transport>,
    pub(crate) studio: StudioServiceClient<Transport>,
    pub(crate) transport: Transport,
    running: Running,
    shutdown: CancellationToken,
}

impl Generator {
    pub(crate) async fn start() -> Self {
        Self::start_with(generator::Config::default()).await
    }

    pub(crate) async fn start_with(mut config: generator::Config) -> Self {
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        let shutdown = CancellationToken::new();
        let running = generator::start(config, shutdown.clone()).await.unwrap();
        let transport = saga_client::connect(&running.addr.to_string())
            .await
            .unwrap();
        let client = saga_client::limited!(GeneratorServiceClient::new(transport.clone()));
        let studio = saga_client::limited!(StudioServiceClient::new(transport.clone()));
        Self {
            client,
            studio,
            transport,
            running,
            shutdown,
        }
    }

    pub(crate) async fn generate(&mut self, spec: CandidateSpec) -> Result<Candidate, Status> {
        let answer = self
            .client
            .generate(GenerateRequest { spec: Some(spec) })
            .await?;
        Ok(answer.into_inner().candidate.unwrap())
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        drop((self.client, self.studio, self.transport));
        self.running.wait().await.unwrap();
    }
}

fn image(data: Vec<u8>) -> Image {
    Image {
        data: data.into(),
        blake3: String::new(),
    }
}

/// A request to the studio: one of its own pictures, to be edited to fear.
pub(crate) fn studio_spec() -> CandidateSpec {
    let counts = [(Label::Neutral, 2)].into();
    let source = plan(3, Some(&counts), 64).unwrap().items()[0]
        .render()
        .unwrap();
    CandidateSpec {
        candidate_id: "studio-1".to_owned(),
        backend: "studio".to_owned(),
        source: Some(image(source)),
        source_label: "neutral".to_owned(),
        target_label: "fear".to_owned(),
        prompt: "a frightened face".to_owned(),
        seed: 11,
        ..CandidateSpec::default()
    }
}

/// A request to the exemplar editor: drawn grey faces.
pub(crate) fn exemplar_spec() -> CandidateSpec {
    CandidateSpec {
        candidate_id: "exemplar-1".to_owned(),
        backend: "exemplar".to_owned(),
        source: Some(image(jpeg(0))),
        source_label: "neutral".to_owned(),
        target_label: "happy".to_owned(),
        prompt: "a happy face".to_owned(),
        seed: 11,
        exemplars: vec![image(jpeg(1)), image(jpeg(2))],
        ..CandidateSpec::default()
    }
}

/// A drawn grey face; `mood` bends its mouth.
pub(crate) fn jpeg(mood: u32) -> Vec<u8> {
    let blob = |x: f32, y: f32, cx: f32, cy: f32, sx: f32, sy: f32| {
        (-((x - cx) / sx).powi(2) - ((y - cy) / sy).powi(2)).exp()
    };
    let picture = GrayImage::from_fn(112, 112, |column, row| {
        let (x, y) = (column as f32 / 112.0 - 0.5, row as f32 / 112.0 - 0.5);
        let face = 1.0 / (1.0 + (10.0 * ((x / 0.37).powi(2) + (y / 0.5).powi(2) - 1.0)).exp());
        let eyes = blob(x.abs(), y, 0.165, -0.135, 0.08, 0.04)
            + 0.5 * blob(x.abs(), y, 0.17, -0.2, 0.11, 0.03);
        let nose = 0.6 * blob(x, y, 0.0, 0.13, 0.1, 0.03);
        let mouth = blob(
            x,
            y,
            0.0,
            0.29 - mood as f32 * (x * x * 4.0 - 0.03),
            0.15,
            0.035,
        );
        Luma([(60.0 + 130.0 * face - 80.0 * (eyes + nose + mouth)).clamp(0.0, 255.0) as u8])
    });
    saga_imaging::encode_jpeg_grey(&picture, 92).unwrap()
}

/// The head of a PNG whose sides are `side` pixels long.
pub(crate) fn png_that_declares(side: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend([side.to_be_bytes(), side.to_be_bytes()].concat());
    header.extend([8, 0, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(&header);
    png.extend(crc32(&header).to_be_bytes());
    png.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e\0\0\0\0IEND\xae\x42\x60\x82");
    png
}

/// CRC-32 of PNG (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            }
        })
    })
}
