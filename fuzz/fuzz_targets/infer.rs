//! `GRPCInferenceService.ModelInfer` of both model services: tensors whose shape, type and contents need not agree.

#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use prost::bytes::Bytes;
use saga_fuzz::{
    image::File,
    service::Service,
    text::{Model, Text},
};
use saga_proto::inference::{
    InferTensorContents, ModelInferRequest,
    grpc_inference_service_client::GrpcInferenceServiceClient,
    model_infer_request::{InferInputTensor, InferRequestedOutputTensor},
};

static CLIP: LazyLock<Service> = LazyLock::new(Service::clip_gate);
static VIT: LazyLock<Service> = LazyLock::new(Service::vit_classifier);

/// Pixel values of an image that the models take.
const PIXELS: usize = 3 * SIDE * SIDE;
const SIDE: usize = 32;

#[derive(Debug, Arbitrary)]
struct Infer {
    model: Served,
    version: Model,
    inputs: Vec<Input>,
    outputs: Vec<Name>,
    /// Whether contents are sent raw.
    raw: bool,
    /// Raw contents instead of those of the inputs, or beside them.
    other_raw: Option<Vec<Vec<u8>>>,
}

#[derive(Debug, Arbitrary)]
enum Served {
    VitClassifier,
    ClipImage,
    ClipText,
    Unknown(String),
}

#[derive(Debug, Arbitrary)]
enum Name {
    PixelValues,
    Image,
    Text,
    InputIds,
    Logits,
    Probabilities,
    ImageEmbeds,
    TextEmbeds,
    Any(String),
}

#[derive(Debug, Arbitrary)]
struct Input {
    tensor: Tensor,
    /// What is sent in place of the tensor's own.
    name: Option<Name>,
    datatype: Option<String>,
    shape: Option<Vec<i64>>,
}

#[derive(Debug, Arbitrary)]
enum Tensor {
    /// Rows of images, filled with these values again and again, with some elements more or fewer.
    PixelValues(u8, Vec<f32>, i8),
    Images(Vec<File>),
    Texts(Vec<Words>),
    /// Rows of as many token ids as there are.
    InputIds(u8, Vec<Id>),
    Any(Vec<f32>, Vec<i64>, Vec<Vec<u8>>),
}

#[derive(Debug, Arbitrary)]
enum Words {
    Utf8(Text),
    Bytes(Vec<u8>),
}

#[derive(Debug, Arbitrary)]
enum Id {
    Small(u16),
    End,
    Any(i64),
}

/// The CLIP's end of text.
const END: i64 = 560;

impl Name {
    fn text(self) -> String {
        let known = match self {
            Self::PixelValues => "pixel_values",
            Self::Image => "image",
            Self::Text => "text",
            Self::InputIds => "input_ids",
            Self::Logits => "logits",
            Self::Probabilities => "probabilities",
            Self::ImageEmbeds => "image_embeds",
            Self::TextEmbeds => "text_embeds",
            Self::Any(name) => return name,
        };
        known.to_owned()
    }
}

impl Tensor {
    /// Name, datatype, shape and contents that agree, but for surplus or missing pixels.
    fn parts(self) -> (&'static str, &'static str, Vec<i64>, InferTensorContents) {
        let mut contents = InferTensorContents::default();
        match self {
            Self::PixelValues(rows, values, surplus) => {
                let rows = usize::from(rows % 5);
                let count = (rows * PIXELS).saturating_add_signed(surplus.into());
                contents.fp32_contents = values.into_iter().cycle().take(count).collect();
                let shape = vec![rows as i64, 3, SIDE as i64, SIDE as i64];
                ("pixel_values", "FP32", shape, contents)
            }
            Self::Images(files) => {
                let shape = vec![files.len() as i64];
                contents.bytes_contents = files
                    .into_iter()
                    .map(|file| Vec::from(file).into())
                    .collect();
                ("image", "BYTES", shape, contents)
            }
            Self::Texts(texts) => {
                let shape = vec![texts.len() as i64];
                let bytes = texts.into_iter().map(|text| match text {
                    Words::Utf8(text) => String::from(text).into(),
                    Words::Bytes(bytes) => Bytes::from(bytes),
                });
                contents.bytes_contents = bytes.collect();
                ("text", "BYTES", shape, contents)
            }
            Self::InputIds(rows, ids) => {
                let shape = vec![rows.into(), ids.len() as i64];
                let ids: Vec<i64> = ids.iter().map(Id::number).collect();
                contents.int64_contents = ids.repeat(rows.into());
                ("input_ids", "INT64", shape, contents)
            }
            Self::Any(floats, integers, bytes) => {
                contents.fp32_contents = floats;
                contents.int64_contents = integers;
                contents.bytes_contents = bytes.into_iter().map(Bytes::from).collect();
                (
                    "pixel_values",
                    "FP32",
                    vec![1, 3, SIDE as i64, SIDE as i64],
                    contents,
                )
            }
        }
    }
}

impl Id {
    fn number(&self) -> i64 {
        match *self {
            Self::Small(id) => id.into(),
            Self::End => END,
            Self::Any(id) => id,
        }
    }
}

/// The contents as the protocol lays them out.
fn raw(contents: &InferTensorContents) -> Bytes {
    let floats = contents
        .fp32_contents
        .iter()
        .flat_map(|value| value.to_le_bytes());
    let integers = contents
        .int64_contents
        .iter()
        .flat_map(|value| value.to_le_bytes());
    let strings = contents.bytes_contents.iter().flat_map(|string| {
        let length = (string.len() as u32).to_le_bytes();
        length.into_iter().chain(string.iter().copied())
    });
    floats.chain(integers).chain(strings).collect()
}

fuzz_target!(|infer: Infer| {
    let (service, model) = match infer.model {
        Served::VitClassifier => (&VIT, "vit-classifier".to_owned()),
        Served::ClipImage => (&CLIP, "clip-image".to_owned()),
        Served::ClipText => (&CLIP, "clip-text".to_owned()),
        Served::Unknown(name) => (&CLIP, name),
    };
    let mut request = ModelInferRequest {
        model_name: model,
        model_version: infer.version.into(),
        ..ModelInferRequest::default()
    };
    for Input {
        tensor,
        name,
        datatype,
        shape,
    } in infer.inputs
    {
        let (own_name, own_datatype, own_shape, contents) = tensor.parts();
        let mut input = InferInputTensor {
            name: name.map_or_else(|| own_name.to_owned(), Name::text),
            datatype: datatype.unwrap_or_else(|| own_datatype.to_owned()),
            shape: shape.unwrap_or(own_shape),
            ..InferInputTensor::default()
        };
        if infer.raw {
            request.raw_input_contents.push(raw(&contents));
        } else {
            input.contents = Some(contents);
        }
        request.inputs.push(input);
    }
    if let Some(other) = infer.other_raw {
        request.raw_input_contents = other.into_iter().map(Bytes::from).collect();
    }
    let outputs = infer
        .outputs
        .into_iter()
        .map(|name| InferRequestedOutputTensor {
            name: name.text(),
            ..InferRequestedOutputTensor::default()
        });
    request.outputs = outputs.collect();
    let rows = request
        .inputs
        .first()
        .and_then(|input| input.shape.first().copied());
    let ask = async |routes| {
        GrpcInferenceServiceClient::new(routes)
            .model_infer(request)
            .await
    };
    if let Some(answer) = service.ask(ask) {
        for output in answer.outputs {
            assert_eq!(output.shape.first().copied(), rows);
        }
    }
});
