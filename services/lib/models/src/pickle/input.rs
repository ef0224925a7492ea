//! A cursor over the bytes of a pickle that never reads past their end.

use super::error::{Problem, Result};

pub struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Bytes read so far.
    pub fn at(&self) -> usize {
        self.at
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..count).ok_or(Problem::Truncated {
            at: self.bytes.len(),
        })?;
        self.at += count;
        Ok(taken)
    }

    /// What a length of `N` little-endian bytes announces.
    pub fn counted<const N: usize>(&mut self) -> Result<&'a [u8]> {
        let count = self.unsigned::<N>()?;
        self.take(count)
    }

    /// Text that a length of `N` little-endian bytes announces.
    pub fn text<const N: usize>(&mut self) -> Result<&'a str> {
        let at = self.at;
        utf8(self.counted::<N>()?, at)
    }

    /// An unsigned integer of `N` little-endian bytes.
    pub fn unsigned<const N: usize>(&mut self) -> Result<usize> {
        let at = self.at;
        let value = self.take(N)?.iter().rev().try_fold(0_usize, |value, byte| {
            Some(value.checked_mul(256)? | usize::from(*byte))
        });
        value.ok_or(Problem::Malformed {
            at,
            why: "an integer beyond the address space",
        })
    }

    /// A line of text, without its end.
    pub fn line(&mut self) -> Result<&'a str> {
        let at = self.at;
        let rest = self.bytes.get(at..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n');
        let line = self.take(length.unwrap_or(rest.len()))?;
        self.take(1)?;
        utf8(line, at)
    }
}

fn utf8(bytes: &[u8], at: usize) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Problem::Malformed {
        at,
        why: "text that is not UTF-8",
    })
}
