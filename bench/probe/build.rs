//! How the program is linked: `probe_begin` (src/main.rs) is its first
//! instruction, and no table is set apart to be made read-only after relocation,
//! which saves a mapping at every start of a program that is not relocated.

use std::env;

fn main() {
    println!("cargo::rustc-link-arg-bins=-Wl,-z,norelro");
    // Unoptimised code reaches even its own functions through tables, which are
    // empty until the C library has relocated the program.
    if env::var_os("OPT_LEVEL").is_some_and(|level| level != "0") {
        println!("cargo::rustc-link-arg-bins=-Wl,-e,probe_begin");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
