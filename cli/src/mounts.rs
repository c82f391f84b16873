//! Volumes, files of the host and filesystems in memory for a sandbox.

use bulkhead_image::Image;
use bulkhead_image::volume::{MountRequest, Mounts, Persistence, RequestError};
use bulkhead_runtime::Bundle;

use crate::args::{MountArgs, RunArgs};
use crate::context::Context;
use crate::failure::Failure;

/// Puts what `args` ask for into `bundle`. What is returned is to be kept until the
/// sandbox is gone.
pub fn resolve(
    context: &Context,
    args: &RunArgs,
    image: &Image,
    bundle: &mut Bundle,
) -> Result<Mounts, Failure> {
    let volumes = context.store().volumes();
    let read_only = args.limits.inside.read_only;
    let requests = requests(&args.mounts)?;
    let mounts = Mounts::resolve(&volumes, image, &requests, Persistence::Run, read_only)?;
    mounts.apply(&mut bundle.spec);
    Ok(mounts)
}

fn requests(args: &MountArgs) -> Result<Vec<MountRequest>, RequestError> {
    let volumes = args.volume.iter().map(|text| MountRequest::volume(text));
    let mounts = args.mount.iter().map(|text| MountRequest::mount(text));
    let tmpfs = args.tmpfs.iter().map(|text| MountRequest::tmpfs(text));
    volumes.chain(mounts).chain(tmpfs).collect()
}
