//! The IPTC digital source type in a file's XMP packet, for the many tools that read XMP but not C2PA.
//!
//! JPEG and PNG have a place for it that costs nothing; in the other formats C2PA alone says it. See "XMP Specification
//! Part 3: Storage in Files" and the IPTC Photo Metadata Standard, `Iptc4xmpExt:DigitalSourceType`.

use image::ImageFormat;
use img_parts::{
    Bytes,
    jpeg::{Jpeg, JpegSegment, markers},
    png::{Png, PngChunk},
};

use crate::ProvenanceError;

const JPEG_HEADER: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
/// What fits into one segment besides its own length.
const JPEG_MOST: usize = 65_533;
const PNG_CHUNK: [u8; 4] = *b"iTXt";
/// Keyword, then: not compressed, no language, no translated keyword.
const PNG_HEADER: &[u8] = b"XML:com.adobe.xmp\0\0\0\0\0";
const PROPERTY: &str = "Iptc4xmpExt:DigitalSourceType";
const END: &str = "</rdf:RDF>";

/// The file with the digital source type in its XMP packet. A packet that is there already is added to, unless it has one.
pub(crate) fn with_digital_source_type(
    file: &[u8],
    format: ImageFormat,
    source_type: &str,
) -> Result<Bytes, ProvenanceError> {
    let file = Bytes::copy_from_slice(file);
    match format {
        ImageFormat::Jpeg => jpeg(file, source_type),
        ImageFormat::Png => png(file, source_type),
        _ => Ok(file),
    }
}

/// The digital source type that a file's XMP packet states.
pub(crate) fn digital_source_type(
    file: &[u8],
    format: ImageFormat,
) -> Result<Option<String>, ProvenanceError> {
    let file = Bytes::copy_from_slice(file);
    Ok(match format {
        ImageFormat::Jpeg => {
            let jpeg = Jpeg::from_bytes(file)?;
            jpeg.segments().iter().find_map(jpeg_packet).and_then(value)
        }
        ImageFormat::Png => {
            let png = Png::from_bytes(file)?;
            png.chunks().iter().find_map(png_packet).and_then(value)
        }
        _ => None,
    })
}

fn jpeg(file: Bytes, source_type: &str) -> Result<Bytes, ProvenanceError> {
    let mut jpeg = Jpeg::from_bytes(file)?;
    let segments = jpeg.segments_mut();
    let there = segments.iter().position(|s| jpeg_packet(s).is_some());
    let old = there.and_then(|at| jpeg_packet(segments.get(at)?));
    let most = JPEG_MOST - JPEG_HEADER.len();
    let contents = [JPEG_HEADER, &packet(old, source_type, most)].concat();
    let segment = JpegSegment::new_with_contents(markers::APP1, contents.into());
    match there.and_then(|at| segments.get_mut(at)) {
        Some(old) => *old = segment,
        // JFIF asks for its own segment to be the first.
        None => {
            let first = segments.iter().position(|s| s.marker() != markers::APP0);
            segments.insert(first.unwrap_or(segments.len()), segment);
        }
    }
    Ok(jpeg.encoder().bytes())
}

fn png(file: Bytes, source_type: &str) -> Result<Bytes, ProvenanceError> {
    let mut png = Png::from_bytes(file)?;
    let chunks = png.chunks_mut();
    let there = chunks.iter().position(|c| png_packet(c).is_some());
    let old = there.and_then(|at| png_packet(chunks.get(at)?));
    let contents = [PNG_HEADER, &packet(old, source_type, usize::MAX)].concat();
    let chunk = PngChunk::new(PNG_CHUNK, contents.into());
    match there.and_then(|at| chunks.get_mut(at)) {
        Some(old) => *old = chunk,
        // After IHDR, which is the first in every PNG.
        None => chunks.insert(chunks.len().min(1), chunk),
    }
    Ok(png.encoder().bytes())
}

fn jpeg_packet(segment: &JpegSegment) -> Option<&[u8]> {
    let contents = segment.contents();
    (segment.marker() == markers::APP1)
        .then(|| contents.strip_prefix(JPEG_HEADER))
        .flatten()
}

fn png_packet(chunk: &PngChunk) -> Option<&[u8]> {
    (chunk.kind() == PNG_CHUNK)
        .then(|| chunk.contents().strip_prefix(PNG_HEADER))
        .flatten()
}

/// `old` with the digital source type, or a packet of its own where that does not work or has more than `most` bytes.
fn packet(old: Option<&[u8]>, source_type: &str, most: usize) -> Vec<u8> {
    let description = format!(
        "<rdf:Description rdf:about=\"\" xmlns:Iptc4xmpExt=\"http://iptc.org/std/Iptc4xmpExt/2008-02-29/\" \
         {PROPERTY}=\"{source_type}\"/>"
    );
    let extended = old.and_then(|old| {
        if value(old).is_some() {
            return Some(old.to_vec());
        }
        let (head, tail) = std::str::from_utf8(old).ok()?.rsplit_once(END)?;
        Some([head, &description, END, tail].concat().into_bytes())
    });
    extended
        .filter(|packet| packet.len() <= most)
        .unwrap_or_else(|| {
            format!(
                "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?><x:xmpmeta \
                 xmlns:x=\"adobe:ns:meta/\"><rdf:RDF \
                 xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">{description}{END}</x:xmpmeta><?xpacket \
                 end=\"w\"?>"
            )
            .into_bytes()
        })
}

/// The property's value, an attribute or an element; always a URI.
fn value(packet: &[u8]) -> Option<String> {
    let (_, after) = std::str::from_utf8(packet).ok()?.split_once(PROPERTY)?;
    let uri = after.get(after.find("http")?..)?;
    uri.split(['"', '\'', '<']).next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{COMPOSITE_WITH_TRAINED, TRAINED, test_support::picture};

    #[test]
    fn a_packet_is_added_read_back_and_not_doubled() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png] {
            let file = picture(format);
            assert_eq!(digital_source_type(&file, format).unwrap(), None);
            let once = with_digital_source_type(&file, format, TRAINED).unwrap();
            let twice = with_digital_source_type(&once, format, COMPOSITE_WITH_TRAINED).unwrap();
            assert_eq!(once, twice);
            let read = digital_source_type(&once, format).unwrap();
            assert_eq!(read.as_deref(), Some(TRAINED));
        }
    }

    #[test]
    fn a_packet_that_says_something_else_keeps_it() {
        let credit =
            "<x:xmpmeta><rdf:RDF><rdf:Description photoshop:Credit=\"AI\"/></rdf:RDF></x:xmpmeta>";
        let both = packet(Some(credit.as_bytes()), TRAINED, usize::MAX);
        let text = String::from_utf8(both.clone()).unwrap();
        assert!(text.contains("Credit=\"AI\"/><rdf:Description") && text.ends_with("</x:xmpmeta>"));
        assert_eq!(value(&both).as_deref(), Some(TRAINED));
    }

    #[test]
    fn a_packet_that_cannot_be_extended_gives_way() {
        for old in [&b"\xff\xfe"[..], b"no packet", b"</rdf:RDF>"] {
            let own = packet(Some(old), TRAINED, 500);
            assert!(
                own.len() <= 500 && value(&own).as_deref() == Some(TRAINED),
                "{old:?}"
            );
        }
    }

    #[test]
    fn elements_are_read_as_attributes_are() {
        let element = format!("<{PROPERTY}>{TRAINED}</{PROPERTY}>");
        assert_eq!(value(element.as_bytes()).as_deref(), Some(TRAINED));
        assert_eq!(value(PROPERTY.as_bytes()), None);
    }
}
