//! A network card, by the ioctls of netdevice(7).

use core::ffi::{CStr, c_int, c_short};

use super::{Fd, Result, syscall};

#[expect(
    clippy::cast_possible_truncation,
    reason = "small constants of the kernel's interface"
)]
mod narrow {
    pub const INET: libc::sa_family_t = libc::AF_INET.cast_unsigned() as libc::sa_family_t;
    pub const UP: libc::c_short = libc::IFF_UP as libc::c_short;
    pub const RUNNING: libc::c_short = libc::IFF_RUNNING as libc::c_short;
    pub const GATEWAY_ROUTE: libc::c_ushort =
        (libc::RTF_UP | libc::RTF_GATEWAY) as libc::c_ushort;
}

/// A card and a socket to ask the kernel through.
pub struct Card {
    socket: Fd,
    request: libc::ifreq,
}

impl Card {
    /// The card called `name`.
    ///
    /// # Errors
    ///
    /// `ENODEV` when there is none.
    pub fn named(name: &CStr) -> Result<Self> {
        // SAFETY: no memory is passed.
        let socket = unsafe {
            syscall!(SYS_socket, libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)?
        };
        let request = libc::ifreq {
            ifr_name: text(name),
            ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 },
        };
        let mut card = Self { socket: Fd::returned(socket)?, request };
        card.flags()?;
        Ok(card)
    }

    /// Makes a request with what is in `self.request`, which it may change.
    fn ask(&mut self, number: u64) -> Result<()> {
        // SAFETY: the request is an ifreq, as all of these ioctls want, with the name and
        // what the number takes filled in.
        unsafe { syscall!(SYS_ioctl, self.socket.raw(), number, &raw mut self.request)? };
        Ok(())
    }

    fn flags(&mut self) -> Result<c_short> {
        self.ask(libc::SIOCGIFFLAGS)?;
        // SAFETY: the kernel has filled in the flags.
        Ok(unsafe { self.request.ifr_ifru.ifru_flags })
    }

    /// Whether it was brought up.
    pub fn is_up(&mut self) -> Result<bool> {
        Ok(self.flags()? & narrow::UP != 0)
    }

    /// Whether packets can go out.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.flags()? & narrow::RUNNING != 0)
    }

    /// Brings it up, or down.
    pub fn set_up(&mut self, up: bool) -> Result<()> {
        let others = self.flags()? & !narrow::UP;
        self.request.ifr_ifru.ifru_flags = others | if up { narrow::UP } else { 0 };
        self.ask(libc::SIOCSIFFLAGS)
    }

    /// Its hardware address.
    pub fn hardware_address(&mut self) -> Result<[u8; 6]> {
        self.ask(libc::SIOCGIFHWADDR)?;
        // SAFETY: the kernel has filled in the address.
        let address = unsafe { self.request.ifr_ifru.ifru_hwaddr };
        Ok(core::array::from_fn(|at| address.sa_data[at].cast_unsigned()))
    }

    /// Gives it another one.
    pub fn set_hardware_address(&mut self, mac: [u8; 6]) -> Result<()> {
        let mut address = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: [0; 14] };
        for (to, from) in address.sa_data.iter_mut().zip(mac) {
            *to = from.cast_signed();
        }
        self.request.ifr_ifru.ifru_hwaddr = address;
        self.ask(libc::SIOCSIFHWADDR)
    }

    /// Whether this is its name.
    pub fn is_called(&self, name: &CStr) -> bool {
        self.request.ifr_name == text(name)
    }

    /// Gives it another name; it must be down.
    pub fn rename(&mut self, name: &CStr) -> Result<()> {
        self.request.ifr_ifru.ifru_newname = text(name);
        self.ask(libc::SIOCSIFNAME)?;
        self.request.ifr_name = text(name);
        Ok(())
    }

    /// Sets its largest packet, bytes.
    pub fn set_mtu(&mut self, mtu: u16) -> Result<()> {
        self.request.ifr_ifru.ifru_mtu = c_int::from(mtu);
        self.ask(libc::SIOCSIFMTU)
    }

    /// Sets its address, in place of the one it has.
    pub fn set_address(&mut self, address: [u8; 4]) -> Result<()> {
        self.request.ifr_ifru.ifru_addr = socket_address(address);
        self.ask(libc::SIOCSIFADDR)
    }

    /// Sets the mask of its address.
    pub fn set_netmask(&mut self, mask: [u8; 4]) -> Result<()> {
        self.request.ifr_ifru.ifru_netmask = socket_address(mask);
        self.ask(libc::SIOCSIFNETMASK)
    }

    /// Has packets for which there is no other route go to `gateway`.
    pub fn default_route(&self, gateway: [u8; 4]) -> Result<()> {
        let anywhere = socket_address([0; 4]);
        let route = libc::rtentry {
            rt_pad1: 0,
            rt_dst: anywhere,
            rt_gateway: socket_address(gateway),
            rt_genmask: anywhere,
            rt_flags: narrow::GATEWAY_ROUTE,
            rt_pad2: 0,
            rt_pad3: 0,
            rt_tos: 0,
            rt_class: 0,
            rt_pad4: [0; 3],
            rt_metric: 0,
            rt_dev: core::ptr::null_mut(),
            rt_mtu: 0,
            rt_window: 0,
            rt_irtt: 0,
        };
        // SAFETY: `route` is a valid rtentry; without a device it names none.
        unsafe { syscall!(SYS_ioctl, self.socket.raw(), libc::SIOCADDRT, &raw const route)? };
        Ok(())
    }
}

/// A name as the kernel wants it; the end of one that is too long is cut off, and no
/// card is called that.
fn text(name: &CStr) -> [core::ffi::c_char; libc::IFNAMSIZ] {
    let mut text = [0; libc::IFNAMSIZ];
    for (to, from) in text[..libc::IFNAMSIZ - 1].iter_mut().zip(name.to_bytes()) {
        *to = from.cast_signed();
    }
    text
}

/// A `sockaddr_in`: port, then the address, in network order.
fn socket_address(address: [u8; 4]) -> libc::sockaddr {
    let mut it = libc::sockaddr { sa_family: narrow::INET, sa_data: [0; 14] };
    for (to, from) in it.sa_data[2..].iter_mut().zip(address) {
        *to = from.cast_signed();
    }
    it
}
