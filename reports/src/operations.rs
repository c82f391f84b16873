//! What the probe's operations are, in words. A results file may name others:
//! they are shown by name alone.

/// The system call whose cost stands for the boundary itself.
pub const BARE_CALL: &str = "getppid";

/// The control: work that needs nothing of the kernel.
pub const CONTROL: &str = "cpu_hash";

const MEANINGS: [(&str, &str); 20] = [
    (BARE_CALL, "shortest system call"),
    ("clock_gettime", "clock read through the vDSO"),
    ("read_1b", "read 1 byte, cached"),
    ("read_64k", "read 64 KiB, cached"),
    ("write_1b", "write 1 byte, cached"),
    ("write_64k", "write 64 KiB, cached"),
    ("open_close", "open a file and close it"),
    ("fstat", "status of an open file"),
    ("mmap_touch_unmap", "map a page, touch, unmap"),
    ("fault_anon", "first touch of anonymous memory"),
    ("fault_file", "first touch of mapped file"),
    ("futex_wake", "wake nobody"),
    ("pipe_round_trip", "1 byte there and back, pipes"),
    ("socketpair_round_trip", "1 byte there and back, Unix socket"),
    ("tcp_round_trip", "1 byte there and back, loopback TCP"),
    ("thread_create", "create and join a thread"),
    ("fork_wait", "fork a process and reap it"),
    ("fork_exec", "fork, execute a program, reap"),
    (CONTROL, "SHA-256 of 4 KiB: no kernel"),
    ("cpu_matrix", "matrix product: no kernel"),
];

/// Work that needs nothing of the kernel: it should cost the same everywhere.
pub fn is_control(operation: &str) -> bool {
    // The vDSO answers without a system call.
    operation.starts_with("cpu_") || operation == "clock_gettime"
}

/// What the operation called `name` does.
pub fn meaning(name: &str) -> Option<&'static str> {
    MEANINGS.iter().find(|(known, _)| *known == name).map(|(_, meaning)| *meaning)
}
