//! Volumes: data that outlives the sandboxes that use it.
//!
//! ```text
//! volumes/<name>/_data        the data, as any sandbox sees it
//! volumes/<name>/volume.json  labels and the like; locked, shared, by who uses the volume
//! volumes/.new-…              one that is being made
//! volumes/.old-…              one that is being removed
//! volumes/.lock               shared: somebody makes one; exclusive: collecting garbage
//! ```
//!
//! A volume comes into being beside its place and is renamed there when whole and on
//! the disk; it goes the other way round. So what has a name is complete, whenever a
//! process was killed. Both walls use the same directory: a container by a bind mount,
//! a microVM through virtio-fs.

mod copy;
mod filter;
mod name;
mod record;
mod request;
mod resolve;
mod store;

pub use copy::CopyError;
pub use filter::{FilterError, VolumeFilter};
pub use name::VolumeName;
pub use record::{Origin, VolumeRecord};
pub use request::{MountKind, MountRequest, RequestError};
pub use resolve::{MountError, Mounts, Persistence};
pub use store::{Volume, VolumeError, Volumes};
