//! The protocol between the host and the guest's PID 1.
//!
//! One stream connection carries one process. Each side first says [`Hello`];
//! the host may send everything it has to say without waiting for the guest's.
//!
//! ```text
//! host                              guest
//! Hello, Start, Stdin*, StdinEof →
//!                                 ← Hello, Started | Failed
//!                                 ← Stdout*, Stderr*
//! Credit, Signal, CloseOutput,   →
//! Resize
//!                                 ← Credit
//!                                 ← Exited
//! closes the connection
//! ```
//!
//! The main connection, from the guest to [`SESSION_PORT`] on the host, starts
//! the workload; its end ends the machine. Further processes each get a
//! connection from the host to [`EXEC_PORT`] in the guest; its end kills them.
//!
//! A machine that goes on from a snapshot has said its [`Hello`] already, to another
//! host. One that waited for a [`Start`] gets it with what is [`Fresh`]; one whose
//! process runs gets that, and what else is new, as [`Resume`].
//!
//! A machine that is to be saved with its application in it is asked to [`Hold`] it:
//! as soon as that is ready, all of it is stopped, and the guest says so. It goes on
//! with [`Resume`], in each clone.
//!
//! A frame is a kind (`u8`), a length (`u32`, little endian) and a payload:
//! raw bytes for the streams, postcard for everything else. Each stream has a
//! window: its sender may have that many bytes on the way and gets more by
//! [`Credit`]. So a reader that stalls stops its own stream only, never a
//! signal, an exit status or another stream, and both sides know the most they
//! have to buffer.

mod cstrings;
mod decoder;
mod message;
mod spec;

pub use cstrings::{CStrings, ContainsNul};
pub use decoder::{Decoder, Frame};
pub use message::{
    CardStep, Credit, Exited, Failure, FromGuest, FromHost, Hello, Output, Step, put,
    put_empty, put_raw,
};
pub use spec::{
    Capabilities, Device, Fresh, Hold, Mount, Network, PlacedFile, Process, Resume, Rlimit,
    Sandbox, Start, TerminalSize,
};

use core::ffi::CStr;
use core::fmt;

pub(crate) use message::stream_header;

/// Version of this protocol. Both sides come from one build, except when a
/// disk was made by an earlier one.
pub const VERSION: u32 = 5;

/// The host's context id on vsock (`VMADDR_CID_HOST`, linux/vm_sockets.h).
pub const HOST_CID: u32 = libc::VMADDR_CID_HOST;

/// Port on the host that PID 1 connects to.
pub const SESSION_PORT: u32 = 1024;

/// Port in the guest for the processes after the first.
pub const EXEC_PORT: u32 = 1025;

/// Name by which the guest mounts what the host shares.
pub const SHARES_TAG: &str = "bulkhead";

/// Where it does, until each share is in its place.
pub const SHARES: &CStr = c"/dev/.bulkhead-shares";

/// Where an application that is saved with its machine finds what each run hands over:
/// a FIFO until then.
pub const HAND_OVER: &CStr = c"/dev/bulkhead-handover";

/// Bytes of a frame before its payload.
pub const HEADER_LEN: usize = 5;

/// Longest payload of a stream frame.
pub const MAX_DATA: usize = 64 * 1024;

/// Longest payload of [`Kind::Start`]: room for the arguments and environment
/// of any sane process (`ARG_MAX` of POSIX's guarantee is 4 KiB).
pub const MAX_START: usize = 256 * 1024;

/// Longest payload of [`Kind::Refresh`]: the same, written for a program to read.
pub const MAX_RESUME: usize = 2 * MAX_START;

/// Longest payload of the other structured frames.
const MAX_CONTROL: usize = 256;

/// Bytes of stdin the host may send before the guest's first credit.
pub const STDIN_WINDOW: usize = 64 * 1024;

/// Bytes of each output the guest may send before the host's first credit.
pub const OUTPUT_WINDOW: usize = 256 * 1024;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Version; first frame in each direction.
    Hello = 1,
    /// Host: what to run.
    Start = 2,
    /// Host: bytes for stdin.
    Stdin = 3,
    /// Host: nothing more on stdin.
    StdinEof = 4,
    /// Host: a signal for the process.
    Signal = 5,
    /// Host: nobody reads this output any more.
    CloseOutput = 6,
    /// Either: the receiver of a stream has room for so many bytes more.
    Credit = 7,
    /// Guest: the process was exec'ed.
    Started = 8,
    /// Guest: the process could not be started; nothing follows.
    Failed = 9,
    /// Guest: bytes from stdout.
    Stdout = 10,
    /// Guest: bytes from stderr.
    Stderr = 11,
    /// Guest: how the process ended; nothing follows.
    Exited = 12,
    /// Host: the machine goes on from a snapshot, with the process that runs.
    Refresh = 13,
    /// Host: stop the process and all others once it is ready, to be saved.
    Hold = 14,
    /// Guest: they are stopped.
    Held = 15,
    /// Host: the terminal is of another size.
    Resize = 16,
}

impl Kind {
    const ALL: [Self; 16] = [
        Self::Hello,
        Self::Start,
        Self::Stdin,
        Self::StdinEof,
        Self::Signal,
        Self::CloseOutput,
        Self::Credit,
        Self::Started,
        Self::Failed,
        Self::Stdout,
        Self::Stderr,
        Self::Exited,
        Self::Refresh,
        Self::Hold,
        Self::Held,
        Self::Resize,
    ];

    fn from_wire(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte).checked_sub(1)?).copied()
    }

    /// Whether the payload is raw bytes that may be handed on in pieces.
    #[must_use]
    pub fn is_stream(self) -> bool {
        matches!(self, Self::Stdin | Self::Stdout | Self::Stderr)
    }

    /// Longest payload a frame of this kind may have.
    #[must_use]
    pub fn max_len(self) -> usize {
        match self {
            Self::Start => MAX_START,
            Self::Refresh => MAX_RESUME,
            Self::Stdin | Self::Stdout | Self::Stderr => MAX_DATA,
            _ => MAX_CONTROL,
        }
    }
}

/// Bytes that are not this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// No frame has this kind.
    UnknownKind(u8),
    /// A frame is longer than its kind allows.
    TooLong {
        /// Of which kind.
        kind: Kind,
        /// Its length.
        len: usize,
    },
    /// The payload of a structured frame does not decode.
    Malformed(Kind),
    /// A frame at a time or in a direction that it has no meaning in.
    Unexpected(Kind),
    /// More bytes on a stream than its window had room for.
    WindowExceeded(Kind),
    /// The other side speaks another version.
    Version(u32),
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind(kind) => write!(f, "there is no frame of kind {kind}"),
            Self::TooLong { kind, len } => write!(
                f,
                "a {kind:?} frame of {len} bytes is longer than the {} allowed",
                kind.max_len()
            ),
            Self::Malformed(kind) => write!(f, "a {kind:?} frame does not decode"),
            Self::Unexpected(kind) => write!(f, "a {kind:?} frame makes no sense here"),
            Self::WindowExceeded(kind) => {
                write!(f, "more bytes on {kind:?} than there was room for")
            }
            Self::Version(version) => {
                write!(f, "the other side speaks version {version}, this is version {VERSION}")
            }
        }
    }
}

impl core::error::Error for ProtocolError {}
