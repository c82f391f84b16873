//! Writes the linker script `cli/text-order.ld`: the functions that some runs of
//! a program call, in the order of their first calls.
//!
//! The kernel maps 16 pages around each page a program first touches. Where the
//! compiler leaves what a run calls, that comes to most of a text of 7 MB; side by
//! side it is a tenth.
//!
//! ```sh
//! CARGO_PROFILE_RELEASE_STRIP=none cargo build --release
//! cargo run --example text-order -- PROGRAM -- run IMAGE /true -- run --isolation microvm IMAGE /true
//! ```
//!
//! Every function gets a breakpoint, which is taken away when it is first met:
//! in the program, in its children, and in whatever runs the same file again.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::libc::PTRACE_EVENT_EXEC;
use nix::sys::ptrace::{self, AddressType, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut runs = arguments.split(|argument| argument == "--");
    let Some([program]) = runs.next() else {
        return Err("usage: text-order PROGRAM -- ARGUMENT... [-- ARGUMENT...]...".into());
    };
    let functions = Functions::of(program)?;
    let mut order = Order::default();
    for run in runs {
        trace(Path::new(program), run, &functions, &mut order)?;
    }
    print_script(&order.names);
    Ok(())
}

/// Functions by where they begin, as offsets from where the program is loaded.
struct Functions(HashMap<u64, Function>);

struct Function {
    name: String,
    /// What a breakpoint has replaced.
    first_byte: Cell<u8>,
}

impl Functions {
    fn of(program: &str) -> Result<Self> {
        let listing =
            Command::new("readelf").args(["--symbols", "--wide", program]).output()?;
        let listing = String::from_utf8(listing.stdout)?;
        let functions: HashMap<_, _> = listing
            .lines()
            .filter_map(|line| {
                let mut columns = line.split_ascii_whitespace().skip(1);
                let address = u64::from_str_radix(columns.next()?, 16).ok()?;
                let kind = columns.nth(1)?;
                let (section, name) = (columns.nth(2)?, columns.next()?.to_owned());
                let function = Function { name, first_byte: Cell::default() };
                (kind == "FUNC" && section != "UND").then_some((address, function))
            })
            .collect();
        if functions.is_empty() {
            return Err(
                format!("{program} has no symbols: build it with strip = \"none\"").into()
            );
        }
        Ok(Self(functions))
    }
}

/// Functions by their first calls.
#[derive(Default)]
struct Order {
    names: Vec<String>,
    seen: HashSet<String>,
}

impl Order {
    fn add(&mut self, symbol: &str) {
        if let Some(name) = name_pattern(symbol)
            && self.seen.insert(name.clone())
        {
            self.names.push(name);
        }
    }
}

/// A pattern for a function's name: without what differs from one build to another,
/// the hashes of crates and of the function itself, and the number of a local copy.
/// `None` for C, whose libraries do not have a section for each function.
fn name_pattern(symbol: &str) -> Option<String> {
    let name = symbol.trim_end_matches(|c: char| c.is_ascii_digit());
    let name = name.strip_suffix('.').unwrap_or(symbol);
    if name.starts_with("_ZN") {
        const HASH: &str = "17h";
        let end = name.rfind(HASH)? + HASH.len();
        return Some(format!("{}*", &name[..end]));
    }
    // A crate's name follows its hash: `Cs`, base 62, `_` (RFC 2603).
    let mut crates = name.starts_with("_R").then(|| name.split("Cs"))?;
    let mut pattern = crates.next()?.to_owned();
    for named in crates {
        pattern.push_str("Cs*");
        pattern.push_str(named.find('_').map_or("", |end| &named[end..]));
    }
    Some(pattern + "*")
}

/// What every run goes through. All that mentions these stands behind the functions
/// met, so that one which is new since then has its neighbours there, and not a
/// window of its own somewhere in the text.
const RUN_BY: [&str; 3] = ["bulkhead_container", "bulkhead_runtime", "bulkhead..args"];

fn print_script(names: &[String]) {
    println!("/* Written by cli/examples/text-order.rs; why is said there. */");
    println!("SECTIONS {{\n  .text.first : {{");
    for name in names {
        println!("    *(.text.{name} .text.unlikely.{name})");
    }
    for part in RUN_BY {
        println!("    *(.text.*{part}*)");
    }
    println!("  }}\n}}\nINSERT BEFORE .text;");
}

const BREAKPOINT: u8 = 0xcc;

/// What is known of the processes of one run.
struct Tracer<'a> {
    program: &'a Path,
    functions: &'a Functions,
    /// Where each process has the program loaded, if that is what it runs.
    traced: HashMap<Pid, Option<u64>>,
}

/// Runs the program until it and all its children have ended.
fn trace(
    program: &Path,
    arguments: &[String],
    functions: &Functions,
    order: &mut Order,
) -> Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null());
    // SAFETY: between fork and exec, only a system call is made.
    unsafe { command.pre_exec(|| ptrace::traceme().map_err(Into::into)) };
    let first = Pid::from_raw(i32::try_from(command.spawn()?.id())?);
    let mut tracer = Tracer { program, functions, traced: HashMap::new() };
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Err(nix::Error::ECHILD) => return Ok(()),
            Ok(WaitStatus::Stopped(pid, signal)) => {
                if pid == first && tracer.traced.is_empty() {
                    ptrace::setoptions(pid, options())?;
                    tracer.begin(pid)?;
                    ptrace::cont(pid, None)?;
                } else {
                    ptrace::cont(pid, tracer.stopped(pid, signal, order)?)?;
                }
            }
            Ok(WaitStatus::PtraceEvent(pid, _, event)) => {
                if event == PTRACE_EVENT_EXEC {
                    tracer.begin(pid)?;
                }
                ptrace::cont(pid, None)?;
            }
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => {
                tracer.traced.remove(&pid);
            }
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl Tracer<'_> {
    /// A process has begun to run a program: sets the breakpoints if it is this one.
    fn begin(&mut self, pid: Pid) -> Result<()> {
        let base = load_address(pid, self.program)?;
        self.traced.insert(pid, base);
        if let Some(base) = base {
            for (offset, function) in &self.functions.0 {
                function.first_byte.set(poke(pid, base + offset, BREAKPOINT)?);
            }
        }
        Ok(())
    }

    /// A process has stopped: which signal, if any, it should go on with.
    fn stopped(
        &mut self,
        pid: Pid,
        signal: Signal,
        order: &mut Order,
    ) -> Result<Option<Signal>> {
        match (signal, self.traced.get(&pid)) {
            (Signal::SIGTRAP, Some(&Some(base))) => {
                self.met(pid, base, order)?;
                Ok(None)
            }
            // The first stop of a child, which has its parent's breakpoints.
            (Signal::SIGSTOP, None) => {
                self.traced.insert(pid, load_address(pid, self.program)?);
                Ok(None)
            }
            (signal, _) => Ok(Some(signal)),
        }
    }

    /// Notes the function at whose breakpoint a process stopped, and takes that away.
    fn met(&self, pid: Pid, base: u64, order: &mut Order) -> Result<()> {
        let mut registers = ptrace::getregs(pid)?;
        let address = registers.rip - 1;
        if let Some(function) = self.functions.0.get(&(address - base)) {
            order.add(&function.name);
            poke(pid, address, function.first_byte.get())?;
            registers.rip = address;
            ptrace::setregs(pid, registers)?;
        }
        Ok(())
    }
}

fn options() -> Options {
    Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL
}

/// Where the program is loaded in a process, if it runs it.
fn load_address(pid: Pid, program: &Path) -> Result<Option<u64>> {
    let runs = fs::metadata(format!("/proc/{pid}/exe"))?;
    let program = fs::metadata(program)?;
    if (runs.dev(), runs.ino()) != (program.dev(), program.ino()) {
        return Ok(None);
    }
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let inode = format!(" {} ", program.ino());
    let first = maps.lines().find(|line| line.contains(&inode));
    let start = first.and_then(|line| line.split('-').next()).ok_or("not mapped")?;
    Ok(Some(u64::from_str_radix(start, 16)?))
}

/// Writes one byte and says what was there.
fn poke(pid: Pid, address: u64, byte: u8) -> Result<u8> {
    let at = address as AddressType;
    let mut word = ptrace::read(pid, at)?.to_le_bytes();
    let before = std::mem::replace(&mut word[0], byte);
    ptrace::write(pid, at, i64::from_le_bytes(word))?;
    Ok(before)
}
