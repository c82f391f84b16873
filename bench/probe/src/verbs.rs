//! The verbs that need the C library, and the usage.

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::fmt::{self, Write};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::attempts;
use crate::line::{HELLO, Line};
use crate::manifest::manifest;
use crate::ops::{OPERATIONS, OperationInfo, Place, measure, measure_compute, measure_files};
use crate::sys::{stay_on_this_cpu, write_all};

const STDOUT: i32 = libc::STDOUT_FILENO;
const STDERR: i32 = libc::STDERR_FILENO;

const FAILURE: u8 = 1;
const USAGE_ERROR: u8 = 2;

const USAGE: &str = "\
usage: probe hello             write a line and exit
       probe woken             the same, once the hand-over of a saved machine,
                               which $BULKHEAD_HANDOVER names, has come
       probe idle              write `ready`, wait for SIGTERM or SIGINT
       probe true              exit with 0
       probe exit CODE         exit with CODE, 0 to 255
       probe ops [--list] [--only NAME,...] [--budget-ms N] [--repetitions N]
                               time operations: `name iterations total_ns`,
                               or `name error errno`
       probe compute MIB BUDGET_MS
                               time a hash, and copy and triad over MIB of
                               memory: `name bytes total_ns`
       probe files FILE DIR BUDGET_MS
                               time reads of FILE and of files made in DIR:
                               `name bytes total_ns`, `..random.. accesses total_ns`
       probe manifest PATH     list a tree: path, type, mode, owner, links,
                               size, device, content, extended attributes
       probe attempt NAME [ARGUMENT...]
                               try something no sandbox should allow, say how
                               it went, keep it until a line of input
       probe attempts          the same for each line of input: NAME, a tab,
                               ARGUMENT, ...; an empty line ends an attempt
";

/// The arguments as the C library hands them over, without copying them.
#[derive(Debug, Clone, Copy)]
pub struct Arguments<'a>(&'a [*const c_char]);

impl Arguments<'static> {
    /// Wraps what `main` was called with.
    ///
    /// # Safety
    ///
    /// `arguments` points to `count` terminated strings that live, unchanged, as
    /// long as the process.
    #[must_use]
    pub unsafe fn from_main(count: c_int, arguments: *const *const c_char) -> Self {
        let count = usize::try_from(count).unwrap_or(0);
        if count == 0 {
            return Self(&[]);
        }
        // SAFETY: the caller's promise.
        Self(unsafe { std::slice::from_raw_parts(arguments, count) })
    }
}

impl<'a> Arguments<'a> {
    /// Argument `index`; 0 is the program's name.
    fn get(self, index: usize) -> Option<&'a [u8]> {
        let argument = *self.0.get(index)?;
        // SAFETY: `from_main`'s caller promised terminated strings.
        Some(unsafe { CStr::from_ptr(argument) }.to_bytes())
    }

    /// The arguments from `first` on.
    fn skip(self, first: usize) -> impl Iterator<Item = &'a [u8]> {
        (first..self.0.len()).filter_map(move |index| self.get(index))
    }
}

/// Runs the verb that `arguments` name and returns the exit code.
#[must_use]
pub fn run(arguments: Arguments<'_>) -> u8 {
    // The other verbs have been dealt with by `quick`.
    match (arguments.get(1), arguments.get(2), arguments.get(3)) {
        (Some(b"woken"), None, _) => code(&woken()),
        (Some(b"ops"), _, _) => ops(arguments),
        (Some(b"compute"), Some(mib), Some(budget)) => compute(mib, budget),
        (Some(b"files"), Some(file), Some(dir)) => files(file, dir, arguments.get(4)),
        (Some(b"manifest"), Some(path), None) => print_manifest(path),
        (Some(b"attempt"), Some(name), _) => attempt(name, arguments),
        (Some(b"attempts"), None, _) => code(&attempts::session()),
        _ => usage_error(),
    }
}

fn code(result: &io::Result<()>) -> u8 {
    if result.is_ok() { 0 } else { FAILURE }
}

/// Waits to be told what to do, which is always the same.
fn woken() -> io::Result<()> {
    if let Some(place) = std::env::var_os("BULKHEAD_HANDOVER") {
        // All of it: until then it may be told more.
        fs::read(place)?;
    }
    write_all(STDOUT, HELLO.as_bytes())
}

fn usage_error() -> u8 {
    // Whether or not it can be said, the exit code says it.
    let _ = write_all(STDERR, USAGE.as_bytes());
    USAGE_ERROR
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What `probe ops` was asked for.
struct Choice<'a> {
    list: bool,
    only: Option<&'a str>,
    budget_ms: u32,
    repetitions: u32,
}

impl<'a> Choice<'a> {
    fn parse(mut words: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut choice = Self { list: false, only: None, budget_ms: 20, repetitions: 1 };
        while let Some(word) = words.next() {
            match word {
                b"--list" => choice.list = true,
                b"--only" => choice.only = Some(std::str::from_utf8(words.next()?).ok()?),
                b"--budget-ms" => choice.budget_ms = number(words.next()?)?,
                b"--repetitions" => choice.repetitions = number(words.next()?)?,
                _ => return None,
            }
        }
        let known = |name| OPERATIONS.iter().any(|info| info.name == name);
        let all_known = choice.only.is_none_or(|only| only.split(',').all(known));
        all_known.then_some(choice)
    }

    fn includes(&self, info: &OperationInfo) -> bool {
        self.only.is_none_or(|only| only.split(',').any(|name| name == info.name))
    }
}

fn ops(arguments: Arguments<'_>) -> u8 {
    let Some(choice) = Choice::parse(arguments.skip(2)) else { return usage_error() };
    let chosen = OPERATIONS.iter().filter(|info| choice.includes(info));
    if choice.list {
        let mut out = Output(Ok(()));
        for info in chosen {
            // Failure is kept in `out`.
            let _ = writeln!(out, "{}\t{}", info.name, info.about);
        }
        return code(&out.0);
    }
    timed(|emit| {
        for info in chosen {
            measure(info, nanoseconds(choice.budget_ms), choice.repetitions, emit);
        }
    })
}

fn compute(mib: &[u8], budget: &[u8]) -> u8 {
    let (Some(mib @ 1..), Some(budget)) = (number(mib), number(budget)) else {
        return usage_error();
    };
    timed(|emit| measure_compute(mib, nanoseconds(budget), emit))
}

fn files(file: &[u8], dir: &[u8], budget: Option<&[u8]>) -> u8 {
    let Some(budget) = budget.and_then(number) else { return usage_error() };
    let path = |bytes| Path::new(OsStr::from_bytes(bytes));
    let place = Place { image_file: path(file), scratch: path(dir) };
    timed(|emit| measure_files(place, nanoseconds(budget), emit))
}

fn nanoseconds(milliseconds: u32) -> u64 {
    u64::from(milliseconds) * 1_000_000
}

/// Runs `body` on one processor and prints the lines it emits.
fn timed(body: impl FnOnce(&mut dyn FnMut(&Line))) -> u8 {
    stay_on_this_cpu();
    let mut result = Ok(());
    body(&mut |line| {
        if let Err(error) = write_all(STDOUT, format!("{line}\n").as_bytes()) {
            result = Err(error);
        }
    });
    code(&result)
}

fn attempt(name: &[u8], arguments: Arguments<'_>) -> u8 {
    let words: Result<Vec<&str>, _> = arguments.skip(3).map(std::str::from_utf8).collect();
    let (Ok(name), Ok(words)) = (std::str::from_utf8(name), words) else {
        return usage_error();
    };
    match attempts::once(name, &words) {
        Ok(true) => 0,
        Ok(false) => usage_error(),
        Err(_) => FAILURE,
    }
}

fn print_manifest(path: &[u8]) -> u8 {
    let mut result = Ok(());
    let unread = manifest(Path::new(OsStr::from_bytes(path)), &mut |line| {
        if result.is_ok() {
            result = write_all(STDOUT, line.as_bytes());
        }
    });
    if unread > 0 { FAILURE } else { code(&result) }
}

/// Standard output for `write!`, keeping the first error.
struct Output(io::Result<()>);

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.is_ok() {
            self.0 = write_all(STDOUT, text.as_bytes());
        }
        self.0.as_ref().map(drop).map_err(|_| fmt::Error)
    }
}
