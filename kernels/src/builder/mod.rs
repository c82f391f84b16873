//! Builds the guest kernel from Debian's source package.
//!
//! The work is done in a hidden directory of the catalogue under a lock of its
//! own. Whatever interrupts it, the next builder finds the lock free and
//! begins by removing what was left; the finished kernel appears by a rename.

mod configure;
mod error;
mod progress;
mod source;
mod tool;

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};

pub use error::BuildError;
pub use progress::{Progress, Stage};

use crate::catalogue::{Catalogue, CatalogueError, Kernel, Origin, remove};
use crate::image::KernelImage;
use crate::inputs;

/// The Debian packages that building takes.
pub const PACKAGES: &[&str] = &[
    "bc",
    "bison",
    "flex",
    "gcc",
    "libc6-dev",
    "libelf-dev",
    "linux-source-6.1",
    "make",
    "patch",
    "tar",
    "xz-utils",
];

/// About how many files our configuration compiles; makes the bar honest to a
/// few percent.
const OBJECTS: u64 = 790;

/// The current kernel: found in the catalogue or built into it.
///
/// # Errors
///
/// [`BuildError`]; nothing of the attempt remains but hidden files that the next
/// one removes.
pub fn build(catalogue: &Catalogue, progress: &mut dyn Progress) -> Result<Kernel, BuildError> {
    let source = source::find()?;
    let inputs = inputs::hash();
    let name = format!("{inputs}-{}", source.version);
    if let Some(kernel) = find(catalogue, &name)? {
        return Ok(kernel);
    }
    let dir = catalogue.dir();
    fs::create_dir_all(dir).map_err(CatalogueError::io("create", dir))?;
    let _lock = lock(&dir.join(".build.lock"))?;
    // Another builder may have been quicker.
    if let Some(kernel) = find(catalogue, &name)? {
        return Ok(kernel);
    }
    let tree = dir.join(".build");
    remove(&tree)?;
    let kernel = in_tree(&tree, &source, progress)
        .and_then(|()| install(catalogue, &tree, name, inputs, source.version));
    remove(&tree)?;
    kernel
}

fn find(catalogue: &Catalogue, name: &str) -> Result<Option<Kernel>, BuildError> {
    Ok(catalogue.list()?.into_iter().find(|kernel| kernel.name == name))
}

/// Waits for another builder, if there is one.
fn lock(path: &Path) -> Result<Flock<File>, CatalogueError> {
    let file = File::create(path).map_err(CatalogueError::io("create", path))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| CatalogueError::io("lock", path)(errno.into()))
}

/// Everything up to `vmlinux` in `tree`.
fn in_tree(
    tree: &Path,
    source: &source::Source,
    progress: &mut dyn Progress,
) -> Result<(), BuildError> {
    source.unpack(tree, progress)?;
    let patches = inputs::PATCHES.len() as u64;
    for (done, patch) in (0..).zip(inputs::PATCHES) {
        progress.step(Stage::Patch, done, patches);
        let mut command = Command::new("patch");
        command.current_dir(tree).args(["-p1", "--batch", "--forward", "--fuzz=0"]);
        tool::run(command, Some(patch.text.as_bytes()), |_| {})
            .map_err(|error| BuildError::Patch { name: patch.name, source: Box::new(error) })?;
    }
    progress.step(Stage::Configure, 0, 1);
    configure::configure(tree)?;
    compile(tree, progress)
}

fn compile(tree: &Path, progress: &mut dyn Progress) -> Result<(), BuildError> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut make = tool::make(tree);
    make.arg(format!("-j{jobs}")).arg("vmlinux");
    let mut compiled = 0;
    progress.step(Stage::Compile, 0, OBJECTS);
    tool::run(make, None, |line| {
        if line.starts_with("  CC ") || line.starts_with("  AS ") {
            compiled += 1;
            progress.step(Stage::Compile, compiled, OBJECTS.max(compiled));
        }
    })?;
    progress.step(Stage::Compile, compiled, compiled);
    Ok(())
}

/// Strips, checks and publishes what was built.
fn install(
    catalogue: &Catalogue,
    tree: &Path,
    name: String,
    inputs: String,
    source: String,
) -> Result<Kernel, BuildError> {
    let work = catalogue.work_dir(&name)?;
    let image = Catalogue::image_in(&work);
    let mut strip = Command::new("strip");
    strip.arg("--strip-all").arg("-o").arg(&image).arg(tree.join("vmlinux"));
    tool::run(strip, None, |_| {})?;
    let config = work.join("config");
    fs::copy(tree.join(".config"), &config).map_err(CatalogueError::io("copy to", &config))?;
    let checked = KernelImage::inspect(&image).map_err(CatalogueError::from)?;
    let origin = Origin::Built { inputs, source, compiler: tool::compiler()? };
    Ok(catalogue.publish(&work, name, &checked, origin)?)
}
