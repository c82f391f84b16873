//! Tells the linker that the guest's program brings its own start and its own
//! memory functions.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-no-pie"] {
        println!("cargo::rustc-link-arg-bin=bulkhead-init={argument}");
    }
}
