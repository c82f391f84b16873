//! The first process of a container that was made ahead, until somebody takes it.

use std::borrow::Cow;
use std::ffi::c_char;
use std::ptr;

use crate::brief::{self, Brief, Strings};
use crate::message::Message;
use crate::sys::{self, Errno};

use super::{SETUP_FAILED, STREAMS, Script, process};

/// Says that everything is set up, waits to be told the rest and does it.
pub(super) fn wait(script: &Script<'_>) -> ! {
    let sync = script.sync;
    if process::adopt_stdio(script.stdio).is_err() {
        sys::exit(SETUP_FAILED);
    }
    process::close_all_but(STREAMS.into_iter().chain([sync]));
    super::say_ready(sync, None);
    // An end of the conversation is the end of the keeper.
    let Ok((words, stdio)) = brief::receive(sync) else { sys::exit(SETUP_FAILED) };
    let Some(brief) = Brief::read(words) else { malformed(sync) };
    let stdio = match super::take(sync, brief.setup.map(|step| step.map(Cow::Owned))) {
        Ok(rootfs_ready) => super::await_start(sync, rootfs_ready).unwrap_or(stdio),
        Err((step, Errno(errno))) => super::fail(sync, &Message::SetupFailed { step, errno }),
    };
    let (Ok(argv), Ok(envp)) = (pointers(brief.argv), pointers(brief.envp)) else {
        malformed(sync)
    };
    super::launch(sync, stdio, brief.launch.map(|step| step.map(Cow::Owned)), brief.init);
    let candidates = brief.candidates.map_while(Result::ok);
    // SAFETY: `pointers` makes null-terminated arrays of terminated strings.
    let Errno(errno) = unsafe { process::execute(candidates, argv, envp) };
    super::fail(sync, &Message::ExecFailed { errno })
}

fn malformed(sync: i32) -> ! {
    super::fail(sync, &Message::SetupFailed { step: usize::MAX, errno: libc::EPROTO })
}

/// An array of pointers to `strings`, as `execve` takes it.
fn pointers(strings: Strings<'static>) -> Result<*const *const c_char, Errno> {
    let count = strings.count_left();
    let bytes = count.checked_add(1).and_then(|n| n.checked_mul(size_of::<*const c_char>()));
    let array = sys::map(None, bytes.ok_or(Errno(libc::E2BIG))?)?.cast::<*const c_char>();
    for (index, string) in strings.enumerate() {
        // SAFETY: the mapping has room for `count` pointers and one more, and is
        // aligned to a page; there are no more than `count` strings.
        unsafe { array.add(index).write(string?.as_ptr()) };
    }
    // SAFETY: as above; it is the last.
    unsafe { array.add(count).write(ptr::null()) };
    Ok(array)
}
