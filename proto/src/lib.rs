//! SAGA's gRPC contracts: messages, clients and servers generated from the `.proto` files of this folder.
//!
//! A module is a proto package: `saga.gate.v1` is [`gate::v1`]. `bytes` fields are [`prost::bytes::Bytes`], so that an
//! image is not copied on its way through. The descriptors of all files, for server reflection, are
//! [`FILE_DESCRIPTOR_SET`].

#![allow(unreachable_pub, missing_docs, clippy::all)]

/// Declares `$area::v1` from the generated file of package `saga.$area.v1`.
macro_rules! areas {
    ($($area:ident = $package:literal),* $(,)?) => {
        $(pub mod $area {
            pub mod v1 {
                tonic::include_proto!($package);
            }
        })*
    };
}

areas! {
    r#type = "saga.r#type.v1",
    gate = "saga.gate.v1",
    guard = "saga.guard.v1",
    model = "saga.model.v1",
    ssim = "saga.ssim.v1",
    clip = "saga.clip.v1",
    classifier = "saga.classifier.v1",
    generator = "saga.generator.v1",
    trainer = "saga.trainer.v1",
    labelstore = "saga.labelstore.v1",
    orchestrator = "saga.orchestrator.v1",
    evaluation = "saga.evaluation.v1",
}

/// The Open Inference Protocol, version 2.
pub mod inference {
    tonic::include_proto!("inference");
}

/// The metadata key by which a call of a gate or a model service states its priority: `low`, or `normal` as where it is
/// absent.
pub const PRIORITY_KEY: &str = "saga-priority";

/// Encoded `google.protobuf.FileDescriptorSet` of every contract.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/saga_descriptor.bin"));
