//! Shim.
#[derive(Clone, Copy)]
pub enum KvmFlavour {
    Pvm,
    Other,
}
impl KvmFlavour {
    pub fn detect() -> Self {
        if std::path::Path::new("/sys/module/kvm_pvm").exists() {
            Self::Pvm
        } else {
            Self::Other
        }
    }
}
pub fn command_line(f: KvmFlavour) -> &'static str {
    match f {
        KvmFlavour::Pvm => "emulated_ring0 mitigations=off rodata=off",
        _ => "",
    }
}
