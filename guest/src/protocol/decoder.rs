//! Frames out of a byte stream that arrives in pieces of any size.

use alloc::vec::Vec;

use super::{HEADER_LEN, Kind, ProtocolError};

/// A frame, or a piece of a stream frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its payload: all of it, except for the kinds where [`Kind::is_stream`].
    pub payload: &'a [u8],
}

/// An incremental decoder.
///
/// Stream payloads are handed out as slices of the input, and so is any other
/// payload that lies in one piece of it; only one that is split is gathered,
/// and then never more than its kind allows.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER_LEN],
    header_len: usize,
    current: Option<Current>,
    gathered: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    kind: Kind,
    left: usize,
}

impl Decoder {
    /// The next frame in `input`, which is advanced past what was taken from
    /// it. `None` when `input` is used up.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::UnknownKind`] or [`ProtocolError::TooLong`]. The stream
    /// is lost then; further calls decode nonsense but do no harm.
    pub fn next<'a, 'input: 'a>(
        &'a mut self,
        input: &mut &'input [u8],
    ) -> Result<Option<Frame<'a>>, ProtocolError> {
        let current = match self.current {
            Some(current) => current,
            None => match self.header(input)? {
                Some(current) => current,
                None => return Ok(None),
            },
        };
        if current.kind.is_stream() {
            return Ok(self.piece(current, input));
        }
        Ok(self.whole(current, input))
    }

    fn header(&mut self, input: &mut &[u8]) -> Result<Option<Current>, ProtocolError> {
        let missing = HEADER_LEN - self.header_len;
        let taken = take(input, missing);
        self.header[self.header_len..self.header_len + taken.len()].copy_from_slice(taken);
        self.header_len += taken.len();
        if self.header_len < HEADER_LEN {
            return Ok(None);
        }
        self.header_len = 0;
        let [kind, len @ ..] = self.header;
        let kind = Kind::from_wire(kind).ok_or(ProtocolError::UnknownKind(kind))?;
        let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
        if len > kind.max_len() {
            return Err(ProtocolError::TooLong { kind, len });
        }
        let current = Current { kind, left: len };
        self.current = Some(current);
        self.gathered.clear();
        Ok(Some(current))
    }

    fn piece<'a>(&mut self, current: Current, input: &mut &'a [u8]) -> Option<Frame<'a>> {
        let Current { kind, left } = current;
        if input.is_empty() && left > 0 {
            return None;
        }
        let payload = take(input, left);
        let left = left - payload.len();
        self.current = (left > 0).then_some(Current { kind, left });
        Some(Frame { kind, payload })
    }

    fn whole<'a, 'input: 'a>(
        &'a mut self,
        current: Current,
        input: &mut &'input [u8],
    ) -> Option<Frame<'a>> {
        let Current { kind, left } = current;
        let taken = take(input, left);
        if taken.len() == left {
            self.current = None;
            if self.gathered.is_empty() {
                return Some(Frame { kind, payload: taken });
            }
            self.gathered.extend_from_slice(taken);
            return Some(Frame { kind, payload: &self.gathered });
        }
        self.gathered.extend_from_slice(taken);
        self.current = Some(Current { kind, left: left - taken.len() });
        None
    }
}

/// Up to `most` bytes from the front of `input`.
fn take<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{MAX_DATA, put_raw};
    use proptest::collection::vec;
    use proptest::prelude::*;

    type Frames = Vec<(Kind, Vec<u8>)>;

    /// Decodes `input` cut into pieces of `piece` bytes.
    fn decode(input: &[u8], piece: usize) -> Result<Frames, ProtocolError> {
        let mut decoder = Decoder::default();
        let mut frames = Frames::new();
        for mut part in input.chunks(piece) {
            while let Some(frame) = decoder.next(&mut part)? {
                frames.push((frame.kind, frame.payload.to_vec()));
            }
            assert!(part.is_empty());
        }
        Ok(frames)
    }

    /// Joins neighbouring frames of one stream: where a stream is cut means nothing.
    fn joined(frames: Frames) -> Frames {
        let mut joined = Frames::new();
        for (kind, payload) in frames {
            match joined.last_mut() {
                Some((last, bytes)) if *last == kind && kind.is_stream() => {
                    bytes.extend(payload);
                }
                _ => joined.push((kind, payload)),
            }
        }
        joined
    }

    fn frame() -> impl Strategy<Value = (Kind, Vec<u8>)> {
        (proptest::sample::select(&Kind::ALL[..]), vec(any::<u8>(), 0..200))
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(frames in vec(frame(), 0..20), piece in 1_usize..300) {
            let mut wire = Vec::new();
            for (kind, payload) in &frames {
                put_raw(&mut wire, *kind, payload);
            }
            let decoded = decode(&wire, piece).map(joined);
            prop_assert_eq!(decoded, Ok(joined(frames)));
        }

        #[test]
        fn garbage_neither_panics_nor_grows(bytes in vec(any::<u8>(), 0..4096), piece in 1_usize..4096) {
            let mut decoder = Decoder::default();
            for mut part in bytes.chunks(piece) {
                while let Ok(Some(frame)) = decoder.next(&mut part) {
                    prop_assert!(frame.payload.len() <= frame.kind.max_len());
                }
                prop_assert!(decoder.gathered.len() <= bytes.len());
            }
        }
    }

    #[test]
    fn a_length_over_the_bound_is_refused_before_its_payload() {
        let mut wire = Vec::from([Kind::Stdout as u8]);
        wire.extend_from_slice(&u32::MAX.to_le_bytes());
        let refused = ProtocolError::TooLong {
            kind: Kind::Stdout,
            len: usize::try_from(u32::MAX).unwrap(),
        };
        assert_eq!(decode(&wire, 1), Err(refused));
        let mut wire = Vec::new();
        put_raw(&mut wire, Kind::Stdout, &[7; MAX_DATA]);
        assert_eq!(joined(decode(&wire, 4096).unwrap())[0].1.len(), MAX_DATA);
    }
}
