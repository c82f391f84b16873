//! Connections from the host into the guest, through the socket of the
//! monitor's vsock device.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::SessionError;

/// How long to wait before knocking again.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// Longest answer: `OK 4294967295\n`.
const ANSWER_MAX: usize = 16;

/// Connects to `port` in the guest through the Unix socket `uds`. The guest may
/// not listen yet, so it is asked again until `deadline`.
///
/// # Errors
///
/// [`SessionError::Refused`] when nothing has answered by then, and
/// [`SessionError::Io`] when the monitor is not there.
pub fn connect(uds: &Path, port: u32, deadline: Instant) -> Result<UnixStream, SessionError> {
    loop {
        let mut stream =
            UnixStream::connect(uds).map_err(SessionError::io("connect to the monitor"))?;
        if ask(&mut stream, port, deadline)? {
            stream
                .set_read_timeout(None)
                .map_err(SessionError::io("prepare a connection into the guest"))?;
            return Ok(stream);
        }
        if Instant::now() + RETRY_AFTER >= deadline {
            return Err(SessionError::Refused);
        }
        thread::sleep(RETRY_AFTER);
    }
}

/// Asks for `port`. False when nobody listens there.
fn ask(stream: &mut UnixStream, port: u32, deadline: Instant) -> Result<bool, SessionError> {
    let left = deadline.saturating_duration_since(Instant::now()).max(RETRY_AFTER);
    let mut answer = [0; ANSWER_MAX];
    let mut len = 0;
    let mut exchange = || -> std::io::Result<()> {
        stream.set_read_timeout(Some(left))?;
        stream.write_all(format!("CONNECT {port}\n").as_bytes())?;
        // Byte by byte: what follows the line belongs to the session.
        while len < ANSWER_MAX && !answer[..len].ends_with(b"\n") {
            match stream.read(&mut answer[len..=len])? {
                0 => break,
                count => len += count,
            }
        }
        Ok(())
    };
    match exchange() {
        Ok(()) => Ok(answer.starts_with(b"OK ") && answer[..len].ends_with(b"\n")),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(SessionError::Refused),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Ok(false),
            _ => Err(SessionError::io("connect into the guest")(error)),
        },
    }
}
