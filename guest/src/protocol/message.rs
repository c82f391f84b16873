//! What the frames mean, by direction.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{
    Frame, HEADER_LEN, Hold, Kind, ProtocolError, Resume, Start, TerminalSize, VERSION,
};

/// First frame in each direction. Its layout never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The sender's [`VERSION`].
    pub version: u32,
}

/// An output of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Output {
    /// The kind of frame that carries its bytes.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Stdout => Kind::Stdout,
            Self::Stderr => Kind::Stderr,
        }
    }
}

/// Room for more bytes on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// On which output; `None` for stdin.
    pub output: Option<Output>,
    /// So many bytes more than were allowed before.
    pub bytes: u32,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// The status word of `wait(2)`.
    pub wait_status: i32,
    /// The guest kernel killed a process for want of memory.
    pub oom_killed: bool,
}

/// Why a process was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// The command does not exist.
    NotFound,
    /// The command exists and cannot be executed.
    NotExecutable {
        /// What the kernel said.
        errno: i32,
    },
    /// Something around the process could not be set up.
    Setup {
        /// What.
        step: Step,
        /// What the kernel said.
        errno: i32,
    },
    /// There is no running sandbox to join, or there already is one.
    WrongState,
}

/// The steps between a [`Start`] and the exec. An index points into the list of
/// that name in the [`Start`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Giving the kernel fresh randomness.
    Randomness,
    /// Setting the clock.
    SetClock,
    /// Handing over what came with the run.
    HandOver,
    /// Letting the processes go on.
    Continue,
    /// Making the pipes of the standard streams.
    Streams,
    /// Making the process.
    Clone,
    /// Making the terminal.
    Terminal,
    /// Making it the leader of a session.
    Session,
    /// Setting the host name.
    Hostname,
    /// Mounting a filesystem.
    Mount(u16),
    /// Taking away the directory from which shares were mounted.
    Shares,
    /// Making a device node.
    Device(u16),
    /// Making a symbolic link.
    Symlink(u16),
    /// Placing a file.
    File(u16),
    /// Setting up the network card.
    Card(CardStep),
    /// Limiting the number of processes.
    PidsLimit,
    /// Letting memory be promised beyond what there is.
    Overcommit,
    /// Making the root filesystem read-only.
    ReadOnlyRoot,
    /// Setting a resource limit.
    Rlimit(u16),
    /// Setting the OOM score adjustment.
    OomScoreAdj,
    /// Entering the working directory.
    WorkingDirectory,
    /// Handing the standard streams to the user.
    StreamOwner,
    /// Dropping from the capability bounding set.
    BoundingSet,
    /// Setting the supplementary groups.
    Groups,
    /// Setting the group id.
    Gid,
    /// Setting the user id.
    Uid,
    /// Setting the capability sets.
    CapabilitySets,
    /// Setting the ambient capabilities.
    AmbientSet,
    /// Setting `no_new_privs`.
    NoNewPrivileges,
}

/// The steps of setting up the network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CardStep {
    /// Finding it.
    Find,
    /// Taking it down.
    Down,
    /// Giving it its hardware address.
    HardwareAddress,
    /// Giving it its name.
    Name,
    /// Setting its largest packet.
    Mtu,
    /// Giving it its address.
    Address,
    /// Bringing it up.
    Up,
    /// Adding the route through the gateway.
    Route,
}

/// A frame from the host.
#[derive(Debug)]
pub enum FromHost<'a> {
    /// See [`Hello`].
    Hello(Hello),
    /// What to run.
    Start(Box<Start>),
    /// Bytes for stdin.
    Stdin(&'a [u8]),
    /// Nothing more on stdin.
    StdinEof,
    /// A signal by number.
    Signal(u8),
    /// Nobody reads this output any more.
    CloseOutput(Output),
    /// Room on an output.
    Credit(Credit),
    /// The machine goes on from a snapshot.
    Refresh(Box<Resume>),
    /// Stop everything, as soon as the process is ready.
    Hold(Hold),
    /// The terminal is of another size.
    Resize(TerminalSize),
}

impl<'a> FromHost<'a> {
    /// Understands `frame`.
    ///
    /// # Errors
    ///
    /// When it is malformed or is not the host's to send.
    pub fn parse(frame: Frame<'a>) -> Result<Self, ProtocolError> {
        Ok(match frame.kind {
            Kind::Hello => Self::Hello(Hello::parse(frame)?),
            Kind::Start => Self::Start(Box::new(structured(frame)?)),
            Kind::Stdin => Self::Stdin(frame.payload),
            Kind::StdinEof => Self::StdinEof,
            Kind::Signal => Self::Signal(structured(frame)?),
            Kind::CloseOutput => Self::CloseOutput(structured(frame)?),
            Kind::Credit => Self::Credit(structured(frame)?),
            Kind::Refresh => Self::Refresh(Box::new(structured(frame)?)),
            Kind::Hold => Self::Hold(structured(frame)?),
            Kind::Resize => Self::Resize(structured(frame)?),
            kind => return Err(ProtocolError::Unexpected(kind)),
        })
    }
}

/// A frame from the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromGuest<'a> {
    /// See [`Hello`].
    Hello(Hello),
    /// The process was exec'ed.
    Started,
    /// The process was not started.
    Failed(Failure),
    /// Bytes from an output.
    Output(Output, &'a [u8]),
    /// Room on stdin.
    Credit(Credit),
    /// The process ended.
    Exited(Exited),
    /// Everything is stopped.
    Held,
}

impl<'a> FromGuest<'a> {
    /// Understands `frame`.
    ///
    /// # Errors
    ///
    /// When it is malformed or is not the guest's to send.
    pub fn parse(frame: Frame<'a>) -> Result<Self, ProtocolError> {
        Ok(match frame.kind {
            Kind::Hello => Self::Hello(Hello::parse(frame)?),
            Kind::Started => Self::Started,
            Kind::Failed => Self::Failed(structured(frame)?),
            Kind::Stdout => Self::Output(Output::Stdout, frame.payload),
            Kind::Stderr => Self::Output(Output::Stderr, frame.payload),
            Kind::Credit => Self::Credit(structured(frame)?),
            Kind::Exited => Self::Exited(structured(frame)?),
            Kind::Held => Self::Held,
            kind => return Err(ProtocolError::Unexpected(kind)),
        })
    }
}

impl Hello {
    /// This side's greeting.
    pub const OURS: Self = Self { version: VERSION };

    fn parse(frame: Frame<'_>) -> Result<Self, ProtocolError> {
        let version = frame.payload.try_into().map(u32::from_le_bytes);
        let version = version.map_err(|_| ProtocolError::Malformed(frame.kind))?;
        if version == VERSION {
            Ok(Self { version })
        } else {
            Err(ProtocolError::Version(version))
        }
    }

    /// Appends its frame to `out`.
    pub fn put(self, out: &mut Vec<u8>) {
        put_raw(out, Kind::Hello, &self.version.to_le_bytes());
    }
}

fn structured<T: DeserializeOwned>(frame: Frame<'_>) -> Result<T, ProtocolError> {
    match postcard::take_from_bytes(frame.payload) {
        Ok((value, [])) => Ok(value),
        _ => Err(ProtocolError::Malformed(frame.kind)),
    }
}

/// Appends a frame with the raw `payload` to `out`.
pub fn put_raw(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    out.reserve(HEADER_LEN + payload.len());
    out.extend_from_slice(&stream_header(kind, payload.len()));
    out.extend_from_slice(payload);
}

/// Appends a frame without payload to `out`.
pub fn put_empty(out: &mut Vec<u8>, kind: Kind) {
    put_raw(out, kind, &[]);
}

/// Appends a frame with `value` in postcard to `out`.
///
/// # Errors
///
/// [`ProtocolError::TooLong`] when the encoded value is longer than its kind
/// allows; nothing is appended then.
pub fn put<T: Serialize>(
    out: &mut Vec<u8>,
    kind: Kind,
    value: &T,
) -> Result<(), ProtocolError> {
    let payload = postcard::to_allocvec(value).map_err(|_| ProtocolError::Malformed(kind))?;
    if payload.len() > kind.max_len() {
        return Err(ProtocolError::TooLong { kind, len: payload.len() });
    }
    put_raw(out, kind, &payload);
    Ok(())
}

/// The header of a frame with a payload of `len` bytes.
pub(crate) fn stream_header(kind: Kind, len: usize) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    [kind as u8, a, b, c, d]
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Randomness => "giving the kernel fresh randomness",
            Self::SetClock => "setting the clock",
            Self::HandOver => "handing over what came with the run",
            Self::Continue => "letting the processes go on",
            Self::Streams => "making the pipes of the standard streams",
            Self::Clone => "making the process",
            Self::Terminal => "making the terminal",
            Self::Session => "starting a session",
            Self::Hostname => "setting the host name",
            Self::Mount(_) => "mounting",
            Self::Shares => "taking away the directory of the shares",
            Self::Device(_) => "making the device",
            Self::Symlink(_) => "making the symbolic link",
            Self::File(_) => "placing the file",
            Self::Card(step) => return step.fmt(f),
            Self::PidsLimit => "limiting the number of processes",
            Self::Overcommit => "letting memory be overcommitted",
            Self::ReadOnlyRoot => "making the root filesystem read-only",
            Self::Rlimit(_) => "setting the resource limit",
            Self::OomScoreAdj => "setting the OOM score adjustment",
            Self::WorkingDirectory => "entering the working directory",
            Self::StreamOwner => "handing the standard streams to the user",
            Self::BoundingSet => "dropping from the capability bounding set",
            Self::Groups => "setting the supplementary groups",
            Self::Gid => "setting the group id",
            Self::Uid => "setting the user id",
            Self::CapabilitySets => "setting the capability sets",
            Self::AmbientSet => "setting the ambient capabilities",
            Self::NoNewPrivileges => "setting no_new_privs",
        })
    }
}

impl fmt::Display for CardStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Find => "finding the network card",
            Self::Down => "taking the network card down",
            Self::HardwareAddress => "giving the network card its hardware address",
            Self::Name => "giving the network card its name",
            Self::Mtu => "setting the network card's MTU",
            Self::Address => "giving the network card its address",
            Self::Up => "bringing the network card up",
            Self::Route => "adding the route through the gateway",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{CStrings, Decoder, Fresh, Network, PlacedFile, Process, Sandbox};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn one_frame(wire: &[u8], test: impl FnOnce(Frame<'_>)) {
        let mut decoder = Decoder::default();
        let mut input = wire;
        test(decoder.next(&mut input).unwrap().unwrap());
        assert!(input.is_empty());
    }

    proptest! {
        #[test]
        fn a_start_survives_the_wire(
            args in vec("[^\0]{0,20}", 1..5),
            cwd in "/[a-z]{0,9}",
            uid: u32,
            groups in vec(any::<u32>(), 0..5),
            hostname in proptest::option::of("[a-z]{1,9}"),
            fresh in proptest::option::of(any::<([u8; 32], i64, i64)>()),
            card in proptest::option::of(any::<([u8; 6], [u8; 4], u8, Option<[u8; 4]>, u16)>()),
            content in vec(any::<u8>(), 0..300),
        ) {
            let process = Process {
                args: CStrings::from_texts(&args).unwrap(),
                cwd: alloc::ffi::CString::new(cwd).unwrap(),
                uid,
                groups,
                ..Process::default()
            };
            let hostname = hostname.map(|name| alloc::ffi::CString::new(name).unwrap());
            let file = PlacedFile { path: c"/etc/hosts".into(), content };
            let sandbox = Some(Sandbox { hostname, files: [file].into(), ..Sandbox::default() });
            let network = card.map(|(mac, address, prefix_length, gateway, mtu)| Network {
                name: c"eth0".into(),
                mac,
                address,
                prefix_length,
                gateway,
                mtu,
            });
            let fresh = fresh.map(|(entropy, seconds, nanoseconds)| Fresh {
                entropy,
                seconds,
                nanoseconds,
            });
            let start = Start { process, sandbox, fresh, network };
            let mut wire = Vec::new();
            put(&mut wire, Kind::Start, &start).unwrap();
            one_frame(&wire, |frame| match FromHost::parse(frame) {
                Ok(FromHost::Start(back)) => assert_eq!(*back, start),
                other => panic!("{other:?}"),
            });
        }

        #[test]
        fn garbage_in_a_frame_does_not_panic(
            kind in 1_u8..=16,
            payload in vec(any::<u8>(), 0..200),
        ) {
            let kind = Kind::from_wire(kind).unwrap();
            let frame = Frame { kind, payload: &payload };
            let _ = FromHost::parse(frame);
            let _ = FromGuest::parse(frame);
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut wire = Vec::new();
        Hello { version: 7 }.put(&mut wire);
        one_frame(&wire, |frame| {
            assert_eq!(FromGuest::parse(frame), Err(ProtocolError::Version(7)));
        });
    }

    #[test]
    fn each_side_refuses_its_own_frames() {
        let started = Frame { kind: Kind::Started, payload: &[] };
        assert!(matches!(
            FromHost::parse(started),
            Err(ProtocolError::Unexpected(Kind::Started))
        ));
        let eof = Frame { kind: Kind::StdinEof, payload: &[] };
        assert_eq!(FromGuest::parse(eof), Err(ProtocolError::Unexpected(Kind::StdinEof)));
    }

    #[test]
    fn bytes_after_a_payload_are_refused() {
        let frame = Frame { kind: Kind::Signal, payload: &[15, 0] };
        assert!(matches!(FromHost::parse(frame), Err(ProtocolError::Malformed(Kind::Signal))));
    }
}
