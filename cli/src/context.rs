//! Where things are: the store, the runtime root, the kernels, the walls.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bulkhead_container::ContainerRuntime;
use bulkhead_image::spec::{self, RunOptions};
use bulkhead_image::{DiskLayout, Image, ImageRef, Store, StoreError, builtin};
use bulkhead_instances::Instances;
use bulkhead_kernels::Catalogue;
use bulkhead_microvm::foreign::{ForeignRuntime, Monitor};
use bulkhead_microvm::snapshot::Snapshots;
use bulkhead_microvm::{MicroVmConfig, MicroVmRuntime, Prefetch, RootDisk, StartFrom};
use bulkhead_network::Networks;
use bulkhead_runtime::{Bundle, Isolation, Runtime, state};
use oci_spec::runtime::Spec;

use crate::args::{Global, PrivilegeArgs};
use crate::failure::Failure;
use crate::{payload, privileges};

/// The verb under which this program is a microVM's monitor.
pub const MONITOR_VERB: &str = "microvm-monitor";

/// The verb under which it holds a network.
pub const HOLDER_VERB: &str = "network-holder";

/// What a microVM boots with, where it is not as usual.
#[derive(Debug, Clone, Copy, Default)]
pub struct Guest<'a> {
    /// Replaces our kernel.
    pub kernel: Option<&'a Path>,
    /// How the root filesystem is shown.
    pub root_disk: RootDisk,
    /// When the pages of a snapshot come, if it goes on from one.
    pub prefetch: Prefetch,
}

/// The places and tools every verb works with.
#[derive(Debug)]
pub struct Context {
    /// Directory of the sandboxes' state.
    pub root: PathBuf,
    store: Store,
    kernels: Catalogue,
}

impl Context {
    pub fn new(global: &Global) -> Self {
        Self {
            root: global.root.clone().unwrap_or_else(state::default_root),
            store: Store::open(global.store.clone().unwrap_or_else(Store::default_dir)),
            kernels: Catalogue::open(Catalogue::default_dir()),
        }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn kernels(&self) -> &Catalogue {
        &self.kernels
    }

    /// The networks: those that were made are kept with the images.
    pub fn networks(&self) -> Networks {
        let holder = ["/proc/self/exe", HOLDER_VERB].map(OsString::from).into();
        Networks::new(&self.root, self.store.root().join("networks"), holder)
    }

    /// The templates: they belong to the images whose disks they need.
    pub fn templates(&self) -> Snapshots {
        Snapshots::in_dir(self.templates_dir())
    }

    fn templates_dir(&self) -> PathBuf {
        self.store.root().join("templates")
    }

    /// Where this process keeps templates for itself. No run finds them there, and once
    /// the process is gone, `gc` takes them for something half made.
    pub fn own_templates(&self) -> PathBuf {
        self.templates_dir().join(format!(".bench.{}", std::process::id()))
    }

    /// The snapshots that have a name.
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::in_dir(self.store.root().join("snapshots"))
    }

    /// An image by name or digest; the built-in one is made when first asked for.
    pub fn image(&self, name: &str) -> Result<Image, Failure> {
        let builtin = name.parse::<ImageRef>().is_ok_and(|n| n.to_string() == builtin::PROBE);
        if builtin {
            return Ok(builtin::probe(&self.store, payload::PROBE)?);
        }
        Ok(self.store.resolve(name)?)
    }

    /// The same; `None` when it is not here.
    pub fn find(&self, name: &str) -> Result<Option<Image>, Failure> {
        let builtin = name.parse::<ImageRef>().is_ok_and(|n| n.to_string() == builtin::PROBE);
        if builtin {
            return self.image(name).map(Some);
        }
        match self.store.resolve(name) {
            Ok(image) => Ok(Some(image)),
            Err(StoreError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// An image in the form `isolation` takes, with its `config.json`.
    pub fn bundle(
        &self,
        image: &Image,
        isolation: Isolation,
        root_disk: RootDisk,
        options: &RunOptions,
        privileges: &PrivilegeArgs,
    ) -> Result<Bundle, Failure> {
        let spec = self.spec(image, isolation, options, privileges)?;
        let rootfs = match isolation {
            Isolation::MicroVm => self.store.disk(image, payload::INIT, layout(root_disk))?,
            Isolation::Container | Isolation::Native => image.layers(),
        };
        Ok(Bundle { spec, rootfs })
    }

    /// The `config.json` of an image.
    pub fn spec(
        &self,
        image: &Image,
        isolation: Isolation,
        options: &RunOptions,
        privileges: &PrivilegeArgs,
    ) -> Result<Spec, Failure> {
        let mut spec = spec::runtime_spec(image.config(), image.accounts(), options)?;
        privileges::apply(privileges, isolation, &mut spec)?;
        Ok(spec)
    }

    /// What runs, or ran, here.
    pub fn instances(&self) -> Instances {
        Instances::of(self.store.root(), &self.root)
    }

    /// The runtime of a wall.
    pub fn runtime(
        &self,
        isolation: Isolation,
        guest: Guest<'_>,
    ) -> Result<Box<dyn Runtime>, Failure> {
        Ok(match isolation {
            Isolation::Native => Box::new(bulkhead_bench::NativeRuntime),
            Isolation::Container => Box::new(self.container()),
            Isolation::MicroVm => Box::new(self.microvm(guest)?),
        })
    }

    /// The same for sandboxes that do not start cold: microVMs begin at templates.
    pub fn warm_runtime(
        &self,
        isolation: Isolation,
        guest: Guest<'_>,
    ) -> Result<Box<dyn Runtime>, Failure> {
        match isolation {
            Isolation::MicroVm => {
                Ok(Box::new(self.microvm_from(guest, StartFrom::Template(self.templates()))?))
            }
            other => self.runtime(other, guest),
        }
    }

    /// Both walls.
    pub fn walls(&self) -> Result<[Box<dyn Runtime>; 2], Failure> {
        Ok([Box::new(self.container()), Box::new(self.microvm(Guest::default())?)])
    }

    fn container(&self) -> ContainerRuntime {
        ContainerRuntime::new(self.root.clone())
    }

    /// Another monitor with our guest; `kernel` replaces the guest's.
    pub fn foreign(
        &self,
        monitor: Monitor,
        kernel: Option<&Path>,
    ) -> Result<ForeignRuntime, Failure> {
        let guest = Guest { kernel, ..Guest::default() };
        Ok(ForeignRuntime::on_path(monitor, self.microvm_config(guest)?))
    }

    fn microvm(&self, guest: Guest<'_>) -> Result<MicroVmRuntime, Failure> {
        self.microvm_from(guest, StartFrom::Kernel)
    }

    /// The microVM's runtime, whose machines begin at `start`.
    pub fn microvm_from(
        &self,
        guest: Guest<'_>,
        start: StartFrom,
    ) -> Result<MicroVmRuntime, Failure> {
        Ok(MicroVmRuntime::new(MicroVmConfig { start, ..self.microvm_config(guest)? }))
    }

    fn microvm_config(&self, guest: Guest<'_>) -> Result<MicroVmConfig, Failure> {
        let kernel = match guest.kernel {
            Some(path) => Some(path.to_owned()),
            None => self.kernels.default_kernel()?.map(|kernel| kernel.path),
        };
        let ours = match &kernel {
            Some(path) => self.kernels.built(path)?,
            None => false,
        };
        let monitor = ["/proc/self/exe", MONITOR_VERB].map(OsString::from).into();
        let mut config = MicroVmConfig::new(self.root.clone(), monitor, kernel);
        config.entropy_device = !ours;
        config.balloon = ours;
        config.root_disk = guest.root_disk;
        config.prefetch = guest.prefetch;
        Ok(config)
    }
}

/// Only whole pages can be mapped.
fn layout(root_disk: RootDisk) -> DiskLayout {
    match root_disk {
        RootDisk::Blk => DiskLayout::Compact,
        RootDisk::Pmem => DiskLayout::Mappable,
    }
}
