//! Frames, as they are written and read.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most bytes a frame carries.
pub const MAX_FRAME: usize = 64 * 1024;
/// A kind and a length.
const HEADER: usize = 5;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A request or a reply, as JSON.
    Message(Vec<u8>),
    /// For or from the workload's stdin; nothing is its end.
    Stdin(Vec<u8>),
    /// From its stdout.
    Stdout(Vec<u8>),
    /// From its stderr.
    Stderr(Vec<u8>),
}

impl Frame {
    /// A request or a reply. One too long to be sent is an empty frame, which nobody
    /// understands; ours are all short.
    #[must_use]
    pub fn message(value: &impl Serialize) -> Self {
        let text = serde_json::to_vec(value).unwrap_or_default();
        Self::Message(if text.len() > MAX_FRAME { Vec::new() } else { text })
    }

    /// The request or reply in it.
    #[must_use]
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        match self {
            Self::Message(text) => serde_json::from_slice(text).ok(),
            _ => None,
        }
    }

    /// Appends it as it is sent; data longer than a frame in several.
    pub fn put(&self, to: &mut Vec<u8>) {
        let (kind, bytes) = match self {
            Self::Message(bytes) => (b'm', bytes),
            Self::Stdin(bytes) => (b'0', bytes),
            Self::Stdout(bytes) => (b'1', bytes),
            Self::Stderr(bytes) => (b'2', bytes),
        };
        if bytes.is_empty() {
            put_one(kind, &[], to);
        }
        bytes.chunks(MAX_FRAME).for_each(|part| put_one(kind, part, to));
    }
}

fn put_one(kind: u8, bytes: &[u8], to: &mut Vec<u8>) {
    // At most `MAX_FRAME`.
    let length = u32::try_from(bytes.len()).unwrap_or_default();
    to.push(kind);
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(bytes);
}

/// What came is no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Takes frames out of what comes.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Takes in what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    ///
    /// [`Malformed`], after which nothing can be read any more.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Malformed> {
        let Some((header, rest)) = self.buffer.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [kind, length @ ..] = *header;
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| Malformed)?;
        if length > MAX_FRAME {
            return Err(Malformed);
        }
        let Some(bytes) = rest.get(..length) else { return Ok(None) };
        let bytes = bytes.to_vec();
        let frame = match kind {
            b'm' => Frame::Message(bytes),
            b'0' => Frame::Stdin(bytes),
            b'1' => Frame::Stdout(bytes),
            b'2' => Frame::Stderr(bytes),
            _ => return Err(Malformed),
        };
        self.buffer.drain(..HEADER + length);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(
            parts in prop::collection::vec((0_u8..3, prop::collection::vec(any::<u8>(), 1..99)), 0..9),
            step in 1_usize..50,
        ) {
            let frames: Vec<Frame> = parts.into_iter().map(|(kind, bytes)| match kind {
                0 => Frame::Stdin(bytes),
                1 => Frame::Stdout(bytes),
                _ => Frame::Stderr(bytes),
            }).collect();
            let mut sent = Vec::new();
            frames.iter().for_each(|frame| frame.put(&mut sent));
            let mut decoder = Decoder::default();
            let mut came = Vec::new();
            for part in sent.chunks(step) {
                decoder.push(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    came.push(frame);
                }
            }
            prop_assert_eq!(came, frames);
        }

        #[test]
        fn nonsense_is_refused_or_waits_for_more(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
    }

    #[test]
    fn long_output_is_sent_in_parts() {
        let mut sent = Vec::new();
        Frame::Stdout(vec![7; MAX_FRAME + 1]).put(&mut sent);
        let mut decoder = Decoder::default();
        decoder.push(&sent);
        assert!(
            matches!(decoder.next_frame(), Ok(Some(Frame::Stdout(b))) if b.len() == MAX_FRAME)
        );
        assert!(matches!(decoder.next_frame(), Ok(Some(Frame::Stdout(b))) if b.len() == 1));
    }
}
