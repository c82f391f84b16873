//! [`Attachment`]: a sandbox's place on a network, as long as it lives.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bulkhead_runtime::{Interface, PlacedFile};

use crate::error::{NetworkError, kernel};
use crate::link::Veth;
use crate::lock::{self, Lock};
use crate::netlink::{Netlink, inside};
use crate::networks::{Networks, netlink};
use crate::reserve::Reserved;
use crate::state::{Member, NetworkState};
use crate::{Published, sysctl};

/// What the interface is called inside.
const INSIDE: &str = "eth0";

/// How long to wait before looking again for a holder that does not stay.
const PAUSE: Duration = Duration::from_secs(1);

/// A sandbox's place on a network. Dropping it takes the sandbox off the network.
#[derive(Debug)]
pub struct Attachment {
    networks: Networks,
    state: NetworkState,
    member: Member,
    files: Vec<PlacedFile>,
    tap: Option<File>,
    /// Says that the sandbox has an owner; none once it left.
    owned: Option<Lock>,
    reserved: Vec<Reserved>,
    left: Arc<AtomicBool>,
}

/// What an attachment is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub networks: Networks,
    pub state: NetworkState,
    pub member: Member,
    pub owned: Lock,
    pub reserved: Vec<Reserved>,
    pub tap: Option<File>,
    pub files: Vec<PlacedFile>,
}

impl Attachment {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { networks, state, member, owned, reserved, tap, files } = parts;
        let left = Arc::new(AtomicBool::new(false));
        watch(networks.clone(), state.definition.name.clone(), Arc::clone(&left));
        Self { networks, state, member, files, tap, owned: Some(owned), reserved, left }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.member.address
    }

    /// What is shown of it on the host.
    #[must_use]
    pub fn ports(&self) -> &[Published] {
        &self.member.ports
    }

    /// The files by which it knows names.
    #[must_use]
    pub fn files(&self) -> &[PlacedFile] {
        &self.files
    }

    /// The network card of a microVM.
    #[must_use]
    pub fn interface(&self) -> Option<Interface<'_>> {
        let tap = self.tap.as_ref()?;
        Some(Interface {
            tap: tap.as_fd(),
            name: INSIDE,
            mac: self.member.mac.0,
            address: self.member.address,
            prefix_length: self.state.subnet().prefix_len(),
            gateway: Some(self.state.gateway()),
            mtu: self.state.mtu,
        })
    }

    /// Leaves the tap to the monitor that was handed it: it is gone when that is.
    pub fn hand_over(&mut self) {
        self.tap = None;
    }

    /// Puts the interface of a container into the network namespace of its process, which
    /// has not started yet.
    ///
    /// # Errors
    ///
    /// When the process is gone or the kernel refuses.
    pub fn connect(&self, process: i32) -> Result<(), NetworkError> {
        let path = format!("/proc/{process}/ns/net");
        let namespace = File::open(&path).map_err(crate::error::file("open", path))?;
        let name = self.member.interface();
        let connected = self.pair(&netlink()?, &name, namespace.as_fd());
        connected.map_err(kernel("connect the container by", name))
    }

    fn pair(
        &self,
        here: &Netlink,
        name: &str,
        namespace: BorrowedFd<'_>,
    ) -> std::io::Result<()> {
        let gone = || std::io::Error::from_raw_os_error(libc::ENODEV);
        let bridge = here.link(&self.state.bridge)?.ok_or_else(gone)?.index;
        // Whoever had the address before may have been killed.
        here.remove_link(name)?;
        here.add_veth(&Veth {
            name,
            bridge,
            inside: INSIDE,
            mac: self.member.mac,
            namespace,
            mtu: self.state.mtu,
        })?;
        sysctl::without_ipv6(name)?;
        inside(namespace, || {
            let there = Netlink::open()?;
            let index = there.link(INSIDE)?.ok_or_else(gone)?.index;
            sysctl::without_ipv6(INSIDE)?;
            there.add_address(index, self.member.address, self.state.subnet())?;
            there.bring_up(index, None)?;
            there.add_default_route(self.state.gateway(), index)
        })
    }

    /// Takes the sandbox, which is gone, off the network.
    ///
    /// # Errors
    ///
    /// When something could not be removed; it is found again.
    pub fn leave(mut self) -> Result<(), NetworkError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), NetworkError> {
        if self.owned.take().is_none() {
            return Ok(());
        }
        self.left.store(true, Ordering::Release);
        self.tap = None;
        // The rules go first: a port is somebody else's only when it leads nowhere.
        let left = self.networks.leave(&self.state.definition.name, &self.member.id);
        self.reserved.clear();
        left
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // What is left is found again.
        let _ = self.end();
    }
}

/// Has the process that answers for names started anew when it dies, as long as the
/// sandbox is on the network: it holds a lock, and whoever waits for that is told.
fn watch(networks: Networks, network: String, left: Arc<AtomicBool>) {
    let waiting = move || {
        let holder = networks.states().holder(&network);
        loop {
            lock::await_free(&holder);
            if left.load(Ordering::Acquire) || !holder.exists() {
                return;
            }
            // Without names the sandbox still runs; the next try may do.
            let _ = networks.repair(&network);
            thread::sleep(PAUSE);
        }
    };
    // Where no thread is to be had, the next who joins or leaves sees to it.
    let _ = thread::Builder::new().name("network".into()).stack_size(256 << 10).spawn(waiting);
}
