//! What the machine's card and a few of its files are to be.

use bulkhead_guest::protocol::{Network, PlacedFile, Start};
use bulkhead_runtime::{Interface, PlacedFile as HostFile};

use super::{ConvertError, c_string};

/// `start` with the network and the files that its sandbox was asked for.
///
/// # Errors
///
/// [`ConvertError`] names what cannot be converted.
pub fn add(
    mut start: Start,
    interface: Option<&Interface<'_>>,
    files: &[HostFile],
) -> Result<Start, ConvertError> {
    start.network = interface.map(network).transpose()?;
    if let Some(sandbox) = &mut start.sandbox {
        sandbox.files = files.iter().map(file).collect::<Result<_, _>>()?;
    }
    Ok(start)
}

fn network(interface: &Interface<'_>) -> Result<Network, ConvertError> {
    Ok(Network {
        name: c_string("network card name", interface.name.as_bytes())?,
        mac: interface.mac,
        address: interface.address.octets(),
        prefix_length: interface.prefix_length,
        gateway: interface.gateway.map(|gateway| gateway.octets()),
        mtu: interface.mtu,
    })
}

fn file(file: &HostFile) -> Result<PlacedFile, ConvertError> {
    let path = c_string("file path", file.path.as_bytes())?;
    Ok(PlacedFile { path, content: file.content.clone() })
}
