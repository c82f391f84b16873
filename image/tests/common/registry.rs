//! A registry with the faults that a test asks for: enough of the distribution-spec to
//! pull what a layout holds.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use bulkhead_image::Digest;

/// What it does wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Closes the connection after so many bytes of a blob, so many times.
    pub cut: Option<(usize, usize)>,
    /// Knows no ranges.
    pub whole_only: bool,
    /// Gives blobs with their first byte changed.
    pub changed: bool,
    /// Wants a login.
    pub refuses: bool,
}

/// Blobs that were asked for, with the first byte of each request.
pub type Asked = Vec<(Digest, usize)>;

#[derive(Debug)]
pub struct Registry {
    pub address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    dir: PathBuf,
    tags: BTreeMap<String, Digest>,
    faults: Faults,
    asked: Asked,
}

impl Registry {
    /// Serves the blobs of a layout; the names stand for these manifests or indexes.
    pub fn serve(layout: &Path, tags: &[(&str, Digest)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let tags = tags.iter().map(|(tag, digest)| ((*tag).to_owned(), *digest)).collect();
        let state = State { dir: layout.to_owned(), tags, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        // Ends with the test.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                thread::spawn(move || answer_all(&stream, &state));
            }
        });
        Self { address, state }
    }

    pub fn faults(&self, faults: Faults) {
        self.state.lock().unwrap().faults = faults;
    }

    /// What was asked for since the last call.
    pub fn asked(&self) -> Asked {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }
}

/// Answers the requests of a connection until it is closed or cut.
fn answer_all(stream: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_ascii_lowercase()),
            }
        }
        let path = lines[0].split(' ').nth(1).unwrap_or_default().to_owned();
        let range = lines.iter().find_map(|line| line.strip_prefix("range: bytes="));
        let from = range.and_then(|range| range.trim_end_matches('-').parse().ok());
        let (head, body, whole) = answer(&path, from, &mut state.lock().unwrap());
        let length = format!("{head}content-length: {whole}\r\n\r\n");
        let mut stream = stream;
        if stream.write_all(length.as_bytes()).and_then(|()| stream.write_all(&body)).is_err()
            || body.len() < whole
        {
            return;
        }
    }
}

/// Head, as much of the body as is to be sent, and how long the body says it is.
fn answer(path: &str, from: Option<usize>, state: &mut State) -> (String, Vec<u8>, usize) {
    let status = |status: &str| (format!("HTTP/1.1 {status}\r\n"), Vec::new(), 0);
    if state.faults.refuses {
        return (
            "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic realm=\"test\"\r\n"
                .to_owned(),
            Vec::new(),
            0,
        );
    }
    let parts: Vec<&str> = path.split('/').collect();
    let [.., kind, name] = parts[..] else { return status("404 Not Found") };
    if kind == "v2" {
        return status("200 OK");
    }
    let digest = name.parse().ok().or_else(|| state.tags.get(name).copied());
    let Some(digest) = digest else { return status("404 Not Found") };
    let file = state.dir.join("blobs/sha256").join(digest.hex());
    let Ok(mut bytes) = std::fs::read(file) else { return status("404 Not Found") };
    if kind == "manifests" {
        let len = bytes.len();
        return ("HTTP/1.1 200 OK\r\n".to_owned(), bytes, len);
    }
    let from = from.filter(|_| !state.faults.whole_only);
    state.asked.push((digest, from.unwrap_or(0)));
    if state.faults.changed {
        bytes[0] ^= 1;
    }
    let mut body = bytes.split_off(from.unwrap_or(0).min(bytes.len()));
    let whole = body.len();
    if let Some((after, times)) = state.faults.cut
        && times > 0
        && whole > after
    {
        body.truncate(after);
        state.faults.cut = Some((after, times - 1));
    }
    let status = if from.is_some() { "206 Partial Content" } else { "200 OK" };
    (format!("HTTP/1.1 {status}\r\n"), body, whole)
}
