//! How the program is linked where it is at a fixed address, as in every
//! sandbox: `probe_begin` (src/main.rs) is its first instruction, and no table is
//! set apart to be made read-only after relocation, which saves a mapping at
//! every start. A program that has to be relocated cannot do anything before
//! that, and begins as usual.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    if flags.contains("relocation-model=static") {
        println!("cargo::rustc-link-arg-bins=-Wl,-e,probe_begin,-z,norelro");
    }
}
