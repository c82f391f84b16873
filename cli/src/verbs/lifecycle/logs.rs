//! `bulkhead logs`: what a sandbox's command has written.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

use bulkhead_instances::Timestamp;
use bulkhead_instances::journal::Changes;
use bulkhead_instances::log::{LogReader, Record, Stream, Tail};

use super::{time, unreachable};
use crate::args::LogsArgs;
use crate::context::Context;
use crate::failure::Failure;

/// How often to look where the kernel does not tell.
const LOOK: Duration = Duration::from_millis(250);

/// Which records are printed, and how.
struct Printer {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    timestamps: bool,
    /// Whether a line of each stream has begun.
    within: [bool; 2],
}

/// Nobody reads any more, or it cannot be written.
enum Stop {
    Gone,
    Failed(io::Error),
}

pub fn run(context: &Context, args: &LogsArgs) -> Result<ExitCode, Failure> {
    let instance = context.instances().find(&args.name)?;
    if instance.is_foreground() {
        return Err(unreachable(&instance));
    }
    let now = Timestamp::now();
    let (since, until) = (time(args.since.as_ref(), now)?, time(args.until.as_ref(), now)?);
    let mut printer = Printer { since, until, timestamps: args.timestamps, within: [false; 2] };
    let dir = instance.log_dir();
    // Before anything is read, so that nothing is missed.
    let changes = args.follow.then(|| Changes::of(&[&dir, &instance.dir])).transpose()?;
    let mut reader = LogReader::open(&dir)?;
    match tail(args.tail.as_deref())? {
        None => {
            while let Some(record) = reader.next_record()? {
                if let Err(stop) = printer.print(&record) {
                    return stop.outcome();
                }
            }
        }
        Some(most) => {
            let mut tail = Tail::new(most);
            while let Some(record) = reader.next_record()? {
                if printer.wants(&record) {
                    tail.push(record);
                }
            }
            for record in tail.into_records() {
                if let Err(stop) = printer.print(&record) {
                    return stop.outcome();
                }
            }
        }
    }
    let Some(changes) = changes else { return Ok(ExitCode::SUCCESS) };
    loop {
        // Asked before the log is read: what is written last is read last.
        let over = !instance.is_supervised_now()
            || until.is_some_and(|until| until < Timestamp::now());
        while let Some(record) = reader.next_record()? {
            if let Err(stop) = printer.print(&record) {
                return stop.outcome();
            }
        }
        if over {
            return Ok(ExitCode::SUCCESS);
        }
        changes.wait(LOOK)?;
    }
}

/// `None` is all of it.
fn tail(text: Option<&str>) -> Result<Option<usize>, Failure> {
    match text {
        None | Some("all") => Ok(None),
        // docker: less than nothing is everything.
        Some(text) if text.starts_with('-') && text[1..].parse::<u64>().is_ok() => Ok(None),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| Failure::new(format!("`{text}` is not a number of lines"))),
    }
}

impl Printer {
    fn wants(&self, record: &Record) -> bool {
        self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time <= until)
    }

    fn print(&mut self, record: &Record) -> Result<(), Stop> {
        if !self.wants(record) {
            return Ok(());
        }
        let at = usize::from(record.stream == Stream::Stderr);
        let begins = !std::mem::replace(&mut self.within[at], !record.ends_line);
        let mut bytes = Vec::with_capacity(record.bytes.len() + 32);
        if self.timestamps && begins {
            bytes.extend_from_slice(record.time.to_string().as_bytes());
            bytes.push(b' ');
        }
        bytes.extend_from_slice(&record.bytes);
        if record.ends_line {
            bytes.push(b'\n');
        }
        let written = match record.stream {
            Stream::Stdout => write(&mut io::stdout().lock(), &bytes),
            Stream::Stderr => write(&mut io::stderr().lock(), &bytes),
        };
        written.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Stop::Gone,
            _ => Stop::Failed(error),
        })
    }
}

fn write(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

impl Stop {
    fn outcome(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Gone => Ok(ExitCode::SUCCESS),
            Self::Failed(error) => Err(error.into()),
        }
    }
}
