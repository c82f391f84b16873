//! The network card, set up as the host says.
//!
//! The kernel is told by ioctls, one number each: a handful of system calls and no
//! messages to put together. A card that was up in the machine this one was saved from
//! is taken down first, which forgets that machine's routes and neighbours.

use core::ffi::CStr;

use super::spawn::failed;
use super::sys::{self, Card, Errno};
use crate::protocol::{CardStep, Failure, Network, Step};

/// What the kernel calls the first card.
const KERNELS_NAME: &CStr = c"eth0";

/// How often the kernel's own work is let run before sleeping, and how often and how
/// long is slept, until it has seen that the link is up.
const YIELDS: u32 = 50;
const NAPS: u32 = 50;
const NAP_MS: i32 = 10;

/// Sets the card up for `network`.
pub fn set_up(network: &Network) -> Result<(), Failure> {
    let at = |step: CardStep| failed(Step::Card(step));
    let mut card = find(&network.name).map_err(at(CardStep::Find))?;
    if card.is_up().map_err(at(CardStep::Find))? {
        card.set_up(false).map_err(at(CardStep::Down))?;
    }
    if card.hardware_address().map_err(at(CardStep::Find))? != network.mac {
        card.set_hardware_address(network.mac).map_err(at(CardStep::HardwareAddress))?;
    }
    if !card.is_called(&network.name) {
        card.rename(&network.name).map_err(at(CardStep::Name))?;
    }
    card.set_mtu(network.mtu).map_err(at(CardStep::Mtu))?;
    card.set_address(network.address).map_err(at(CardStep::Address))?;
    card.set_netmask(mask(network.prefix_length)).map_err(at(CardStep::Address))?;
    card.set_up(true).map_err(at(CardStep::Up))?;
    if let Some(gateway) = network.gateway {
        card.default_route(gateway).map_err(at(CardStep::Route))?;
    }
    await_link(&mut card).map_err(at(CardStep::Up))
}

fn find(name: &CStr) -> sys::Result<Card> {
    match Card::named(name) {
        Err(Errno::NODEV) if name != KERNELS_NAME => Card::named(KERNELS_NAME),
        other => other,
    }
}

/// The address mask with so many leading bits.
fn mask(prefix_length: u8) -> [u8; 4] {
    let free = 32_u32.saturating_sub(prefix_length.into());
    u32::MAX.checked_shl(free).unwrap_or(0).to_be_bytes()
}

/// What is sent before the kernel has seen that the link is up is lost. In a clone it
/// learns of that as it goes on, and needs a moment for it.
fn await_link(card: &mut Card) -> sys::Result<()> {
    for attempt in 0..YIELDS + NAPS {
        if card.is_running()? {
            break;
        }
        match attempt {
            0..YIELDS => sys::yield_now(),
            _ => sys::poll(&mut [], NAP_MS).map(drop)?,
        }
    }
    // The link may come up later.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_leading_bits() {
        assert_eq!(mask(24), [255, 255, 255, 0]);
        assert_eq!(mask(16), [255, 255, 0, 0]);
        assert_eq!(mask(30), [255, 255, 255, 252]);
        assert_eq!((mask(0), mask(32), mask(200)), ([0; 4], [255; 4], [255; 4]));
    }
}
