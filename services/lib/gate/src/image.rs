//! Encoded images as they arrive: present, within the limit, and what their sender says they are.

use prost::bytes::Bytes;
use saga_chassis::status::invalid_argument;
use saga_imaging::{DecodeError, blake3_hex};
use saga_proto::r#type::v1::Image;
use tonic::Status;

/// A file that was checked on arrival, and its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedImage {
    /// The encoded file, 1 byte to the limit.
    pub data: Bytes,
    /// BLAKE3 of `data`, 64 lower-case hexadecimal digits.
    pub blake3: String,
}

/// Checks the image in the message field `field`, for example "item.candidate".
///
/// # Errors
/// INVALID_ARGUMENT that names `field`, or its `data` or `blake3`: missing, empty, too long, or not of that hash.
pub fn check_image(
    field: &str,
    image: Option<Image>,
    max_bytes: usize,
) -> Result<EncodedImage, Status> {
    let Image { data, blake3 } =
        image.ok_or_else(|| invalid_argument(field, "is missing; send the encoded image"))?;
    let data_error = |error: DecodeError| decode_error(field, &error);
    if data.is_empty() {
        return Err(data_error(DecodeError::Empty));
    }
    if data.len() > max_bytes {
        return Err(data_error(DecodeError::TooManyBytes {
            bytes: data.len(),
            limit: max_bytes,
        }));
    }
    let actual = blake3_hex(&data);
    if !blake3.is_empty() && blake3 != actual {
        let why = format!("is {blake3}, but the data has {actual}; send the file again");
        return Err(invalid_argument(format!("{field}.blake3"), why));
    }
    Ok(EncodedImage {
        data,
        blake3: actual,
    })
}

/// The status of an image in the message field `field` that does not decode: INVALID_ARGUMENT on its `data`.
#[must_use]
pub fn decode_error(field: &str, error: &DecodeError) -> Status {
    invalid_argument(format!("{field}.data"), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::StatusExt;

    fn refused(image: Option<Image>) -> String {
        let status = check_image("item.source", image, 4).unwrap_err();
        status.get_details_bad_request().unwrap().field_violations[0]
            .field
            .clone()
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        let image = |data: &'static [u8], blake3: &str| {
            Some(Image {
                data: Bytes::from_static(data),
                blake3: blake3.to_owned(),
            })
        };
        assert_eq!(refused(None), "item.source");
        assert_eq!(refused(image(b"", "")), "item.source.data");
        assert_eq!(refused(image(b"12345", "")), "item.source.data");
        assert_eq!(refused(image(b"1234", "00")), "item.source.blake3");
        let hash = blake3_hex(b"1234");
        assert_eq!(
            check_image("item.source", image(b"1234", &hash), 4)
                .unwrap()
                .blake3,
            hash
        );
        assert_eq!(
            check_image("item.source", image(b"1234", ""), 4)
                .unwrap()
                .blake3,
            hash
        );
    }
}
