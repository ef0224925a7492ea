//! What an answer of Gemini's means: what was asked for, an image or words, or why it is not there.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use prost::bytes::Bytes;

use super::wire;
use crate::backend::{Outcome, Without};
use crate::words::Wanted;

/// An answer's own parts, without the model's thoughts.
struct Said {
    image: Option<wire::InlineData>,
    text: String,
    /// Why it ended there.
    reason: String,
    message: String,
}

/// The image that an answer holds, or why there is none.
pub(super) fn image(answer: wire::Answer) -> Outcome {
    let said = match said(answer) {
        Ok(said) => said,
        Err(none) => return none,
    };
    match &said.image {
        Some(image) => match BASE64_STANDARD.decode(&image.data) {
            Ok(data) => Outcome::Image(Bytes::from(data)),
            Err(error) => undecodable(format!("its image is not base64: {error}")),
        },
        None => without(&said),
    }
}

/// The words that an answer holds, or why there are none.
pub(super) fn words(answer: wire::Answer, wanted: &Wanted) -> Outcome {
    let said = match said(answer) {
        Ok(said) => said,
        Err(none) => return none,
    };
    match without(&said) {
        Outcome::Without(Without::TextOnly, _) => match wanted.read(&said.text) {
            Ok(_) => Outcome::Text(said.text),
            Err(why) => undecodable(format!("{why}: {}", said.text)),
        },
        other => other,
    }
}

fn undecodable(why: String) -> Outcome {
    Outcome::Without(Without::Undecodable, why)
}

fn said(answer: wire::Answer) -> Result<Said, Outcome> {
    let Some(candidate) = answer.candidates.into_iter().next() else {
        let feedback = answer.prompt_feedback.unwrap_or_default();
        return Err(match feedback.block_reason {
            Some(reason) => {
                let message = feedback.block_reason_message.unwrap_or_default();
                let message = format!("{reason} {message}").trim().to_owned();
                Outcome::Without(Without::PromptBlock, message)
            }
            None => Outcome::Without(Without::NoImage, "the answer has no candidate".to_owned()),
        });
    };
    let mut said = Said {
        image: None,
        text: String::new(),
        reason: candidate.finish_reason.unwrap_or_default(),
        message: candidate.finish_message.unwrap_or_default(),
    };
    let parts = candidate.content.unwrap_or_default().parts;
    for part in parts.into_iter().filter(|part| !part.thought) {
        said.text.push_str(&part.text.unwrap_or_default());
        said.image = said.image.or(part.inline_data);
    }
    Ok(said)
}

/// Why an answer has no image.
fn without(said: &Said) -> Outcome {
    let message = [&said.reason, &said.message, &said.text]
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(": ");
    let why = match said.reason.as_str() {
        "SAFETY"
        | "IMAGE_SAFETY"
        | "PROHIBITED_CONTENT"
        | "IMAGE_PROHIBITED_CONTENT"
        | "BLOCKLIST"
        | "SPII"
        | "RECITATION"
        | "IMAGE_RECITATION" => Without::SafetyBlock,
        "MAX_TOKENS" => Without::Truncated,
        _ if !said.text.is_empty() => Without::TextOnly,
        _ => Without::NoImage,
    };
    Outcome::Without(why, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Outcome {
        image(serde_json::from_str(json).unwrap())
    }

    fn why(json: &str) -> Without {
        match of(json) {
            Outcome::Without(why, _) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_way_to_lack_an_image_is_told_apart() {
        assert_eq!(
            why(r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"}}"#),
            Without::PromptBlock
        );
        for reason in [
            "SAFETY",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "RECITATION",
        ] {
            let json = format!(r#"{{"candidates":[{{"finishReason":"{reason}"}}]}}"#);
            assert_eq!(why(&json), Without::SafetyBlock);
        }
        assert_eq!(
            why(r#"{"candidates":[{"finishReason":"MAX_TOKENS","content":{"parts":[]}}]}"#),
            Without::Truncated
        );
        assert_eq!(
            why(r#"{"candidates":[{"finishReason":"NO_IMAGE"}]}"#),
            Without::NoImage
        );
        assert_eq!(why(r#"{"candidates":[]}"#), Without::NoImage);
        let text =
            r#"{"candidates":[{"finishReason":"STOP","content":{"parts":[{"text":"I cannot"}]}}]}"#;
        assert_eq!(
            of(text),
            Outcome::Without(Without::TextOnly, "STOP: I cannot".to_owned())
        );
        let broken = r#"{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"@@"}}]}}]}"#;
        assert_eq!(why(broken), Without::Undecodable);
    }

    #[test]
    fn the_image_is_the_answers_not_the_thoughts() {
        let json = r#"{"candidates":[{"content":{"parts":[
            {"thought":true,"inlineData":{"mimeType":"image/png","data":"AAAA"}},
            {"text":"here it is"},
            {"inlineData":{"mimeType":"image/png","data":"AQID"}}]}}]}"#;
        assert_eq!(of(json), Outcome::Image(Bytes::from_static(&[1, 2, 3])));
    }
}
