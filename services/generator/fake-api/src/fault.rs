//! What can go wrong at a remote image API.

use std::time::Duration;

/// One fault of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429, to come back after this time.
    Quota(Duration),
    /// The key is not valid.
    BadKey,
    /// 503.
    Unavailable,
    /// The answer takes this much longer.
    Slow(Duration),
    /// The connection ends in the middle of the answer.
    CutOff,
    /// Status 200 with a page instead of JSON.
    NotJson,
    /// The image is not base64.
    NotBase64,
    /// The image is text.
    NotAnImage,
    /// A PNG that is said to be a JPEG.
    WrongMime,
    /// A body of this many bytes.
    Huge(usize),
    /// The answer was refused.
    Safety,
    /// The prompt was refused.
    Prompt,
    TextOnly,
    NoImage,
    Truncated,
    /// 400: the request is wrong.
    Rejected,
    /// Sends the caller elsewhere.
    Redirect,
}

impl Fault {
    /// Whether the answer holds an image in spite of it.
    pub fn has_image(self) -> bool {
        matches!(self, Self::Slow(_) | Self::WrongMime)
    }
}
