//! `bulkhead network`, `bulkhead port`, and what a launch does about networks.

use std::fs;
use std::process::ExitCode;

use bulkhead_image::Image;
use bulkhead_network::{
    Attachment, DEFAULT, Definition, HostEntry, Join, Kind, NetworkError, NetworkMode,
    NetworkState, Publish, host_files, parse_publish,
};
use bulkhead_runtime::{
    Error as RuntimeError, Interface, Isolation, PlacedFile, Sandbox, SandboxId,
};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use crate::args::{NetworkArgs, NetworkVerb, PortArgs};
use crate::context::Context;
use crate::failure::Failure;
use crate::stdout;

pub fn run(context: &Context, verb: &NetworkVerb) -> Result<ExitCode, Failure> {
    let networks = context.networks();
    match verb {
        NetworkVerb::Create { name, subnet, gateway } => {
            let made = networks.create(name, *subnet, *gateway).map_err(failure)?;
            stdout::line(made.name)?;
        }
        NetworkVerb::Ls { output } => list(context, output.is_json())?,
        NetworkVerb::Rm { names } => {
            for name in names {
                networks.remove(name).map_err(failure)?;
                stdout::line(name)?;
            }
        }
        NetworkVerb::Inspect { names } => {
            let found = names.iter().map(|name| networks.get(name).map(described));
            stdout::json(&found.collect::<Result<Vec<_>, _>>().map_err(failure)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(context: &Context, json: bool) -> Result<(), Failure> {
    let all = context.networks().list().map_err(failure)?;
    if json {
        return stdout::json(&all.into_iter().map(described).collect::<Vec<_>>());
    }
    let row = |name: &str, subnet: &str, gateway: &str, members: &str| {
        stdout::line(format_args!("{name:<20} {subnet:<18} {gateway:<15} {members}"))
    };
    row("NAME", "SUBNET", "GATEWAY", "SANDBOXES")?;
    for (Definition { name, subnet, gateway }, state) in &all {
        let members = state.as_ref().map_or(0, |state| state.members.len());
        row(name, &subnet.to_string(), &gateway.to_string(), &members.to_string())?;
    }
    Ok(())
}

/// A network as a program reads it.
fn described((definition, state): (Definition, Option<NetworkState>)) -> serde_json::Value {
    let members = state.iter().flat_map(|state| &state.members).map(|member| {
        serde_json::json!({
            "id": member.id.as_str(),
            "aliases": member.aliases,
            "address": member.address,
            "mac_address": member.mac,
            "interface": member.interface(),
            "ports": member.ports,
        })
    });
    serde_json::json!({
        "name": definition.name,
        "subnet": definition.subnet,
        "gateway": definition.gateway,
        "bridge": state.as_ref().map(|state| &state.bridge),
        "mtu": state.as_ref().map(|state| state.mtu),
        "sandboxes": members.collect::<Vec<_>>(),
    })
}

/// `bulkhead port`.
pub fn port(context: &Context, args: &PortArgs) -> Result<ExitCode, Failure> {
    let not_on_any = || {
        Failure::new(format!("sandbox {} is on no network", args.sandbox))
            .hint("only a running sandbox with --network, -p or -P is")
    };
    let id = context.instances().sandbox(&args.sandbox)?;
    let member = context.networks().member(&id).map_err(failure)?;
    let (_, member) = member.ok_or_else(not_on_any)?;
    let mut found = false;
    for port in &member.ports {
        match args.port {
            None => stdout::line(port)?,
            Some(asked) if asked == (port.guest, port.protocol) => {
                stdout::line(format_args!("{}:{}", port.address, port.host))?;
            }
            Some(_) => continue,
        }
        found = true;
    }
    match args.port {
        Some((port, protocol)) if !found => {
            let sandbox = &args.sandbox;
            Err(Failure::new(format!("{port}/{protocol} of {sandbox} is not published")))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// What can be done about an error.
fn failure(error: NetworkError) -> Failure {
    let hint = match &error {
        NetworkError::NotRoot => Some("become root"),
        NetworkError::NoNft => Some("run `apt-get install nftables`"),
        NetworkError::NotFound(_) => {
            Some("`bulkhead network ls` lists them, `bulkhead network create` makes one")
        }
        NetworkError::InUse { .. } => Some("stop these sandboxes first"),
        NetworkError::PortTaken { .. } => Some("publish at another port of the host"),
        NetworkError::Overlap { .. } => Some("choose others with --subnet"),
        _ => None,
    };
    match hint {
        Some(hint) => Failure::new(error).hint(hint),
        None => Failure::new(error),
    }
}

/// The network of a sandbox that is to be launched.
fn mode(args: &NetworkArgs) -> Result<NetworkMode, Failure> {
    let publishes = args.publish_all || !args.publish.is_empty();
    let mode = match &args.network {
        Some(mode) => mode.clone(),
        None if publishes => NetworkMode::Named(DEFAULT.to_owned()),
        None => NetworkMode::None,
    };
    let asked = [
        (publishes, "-p and -P publish"),
        (args.ip.is_some(), "--ip is an address on"),
        (args.mac_address.is_some(), "--mac-address is an address on"),
        (!args.network_alias.is_empty(), "--network-alias is a name on"),
    ];
    let asked = asked.into_iter().find_map(|(asked, what)| asked.then_some(what));
    match (&mode, asked) {
        (NetworkMode::Named(_), _) | (_, None) => Ok(mode),
        (mode, Some(what)) => {
            let message = format!("{what} a network of its own, not `--network {mode}`");
            Err(Failure::new(message).hint("use --network bridge"))
        }
    }
}

/// Makes `spec` fit the network: on the host's, a container has no namespace of its own.
pub fn adapt(args: &NetworkArgs, isolation: Isolation, spec: &mut Spec) -> Result<(), Failure> {
    if mode(args)? != NetworkMode::Host {
        return Ok(());
    }
    if isolation == Isolation::MicroVm {
        let what = "the network of the host (--network host)";
        let refused = Failure::from(RuntimeError::Unsupported { isolation, what });
        return Err(refused.hint(
            "a microVM has a kernel and a network card of its own: use --network bridge, and \
             -p for what is to be reached",
        ));
    }
    let namespaces =
        spec.linux_mut().as_mut().and_then(|linux| linux.namespaces_mut().as_mut());
    if let Some(namespaces) = namespaces {
        namespaces.retain(|namespace| namespace.typ() != LinuxNamespaceType::Network);
    }
    Ok(())
}

/// A sandbox's network, as long as it lives.
#[derive(Debug, Default)]
pub struct Connection {
    attachment: Option<Attachment>,
    files: Vec<PlacedFile>,
}

impl Connection {
    /// Files laid over the image's.
    pub fn files(&self) -> &[PlacedFile] {
        self.attachment.as_ref().map_or(&self.files, Attachment::files)
    }

    /// The network card of a microVM.
    pub fn interface(&self) -> Option<Interface<'_>> {
        self.attachment.as_ref().and_then(Attachment::interface)
    }

    /// Connects the sandbox, which was created and has not started.
    pub fn connect(
        &mut self,
        isolation: Isolation,
        sandbox: &dyn Sandbox,
    ) -> Result<(), Failure> {
        let Some(attachment) = &mut self.attachment else { return Ok(()) };
        if isolation == Isolation::MicroVm {
            // Its monitor has it now.
            attachment.hand_over();
            return Ok(());
        }
        let ours = fs::read_link("/proc/self/ns/net")?;
        let elsewhere = |pid: &i32| {
            fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|theirs| theirs != ours)
        };
        let processes = sandbox.processes()?.into_iter().map(|process| process.pid);
        let process = processes.into_iter().find(elsewhere);
        let gone = || RuntimeError::NotRunning { id: sandbox.id().clone() };
        attachment.connect(process.ok_or_else(gone)?).map_err(failure)
    }

    /// Takes the sandbox, which is gone, off its network.
    pub fn leave(&mut self) -> Result<(), Failure> {
        self.attachment.take().map_or(Ok(()), Attachment::leave).map_err(failure)
    }
}

/// What a sandbox is called.
#[derive(Debug, Clone, Copy)]
pub struct Called<'a> {
    /// By the runtime.
    pub id: &'a SandboxId,
    /// By itself.
    pub hostname: &'a str,
    /// By its user.
    pub name: Option<&'a SandboxId>,
}

/// Joins a sandbox that is about to be created to its network.
pub fn join(
    context: &Context,
    args: &NetworkArgs,
    isolation: Isolation,
    image: &Image,
    called: Called<'_>,
) -> Result<Connection, Failure> {
    let entries = args
        .add_host
        .iter()
        .map(|entry| host_entry(entry).map_err(Failure::new))
        .collect::<Result<Vec<_>, _>>()?;
    let network = match mode(args)? {
        NetworkMode::Named(network) => network,
        NetworkMode::None if entries.is_empty() && args.dns.is_empty() => {
            return Ok(Connection::default());
        }
        NetworkMode::None => {
            return Err(Failure::new("--dns and --add-host need a network")
                .hint("use --network bridge"));
        }
        NetworkMode::Host => {
            let files = host_files(&entries, &args.dns);
            return Ok(Connection { attachment: None, files });
        }
    };
    let kind = match isolation {
        Isolation::MicroVm => Kind::Tap,
        _ => Kind::Veth,
    };
    let name = called.name.map(ToString::to_string);
    let aliases: Vec<_> = args.network_alias.iter().cloned().chain(name).collect();
    let attachment = context
        .networks()
        .join(&Join {
            network: &network,
            id: called.id,
            kind,
            hostname: called.hostname,
            aliases: &aliases,
            address: args.ip,
            mac: args.mac_address,
            dns: &args.dns,
            entries: &entries,
            publish: &published(args, image)?,
        })
        .map_err(failure)?;
    Ok(Connection { attachment: Some(attachment), files: Vec::new() })
}

/// What is to be published; of the image's own ports those that are not anyway.
fn published(args: &NetworkArgs, image: &Image) -> Result<Vec<Publish>, Failure> {
    let mut all = Vec::new();
    for text in &args.publish {
        all.extend(parse_publish(text)?);
    }
    if args.publish_all {
        let config = image.config().config().as_ref();
        let exposed = config.and_then(|config| config.exposed_ports().clone());
        for text in exposed.unwrap_or_default() {
            for port in parse_publish(&text)? {
                let same = |other: &Publish| {
                    (other.guest, other.protocol) == (port.guest, port.protocol)
                };
                if !all.iter().any(same) {
                    all.push(port);
                }
            }
        }
    }
    Ok(all)
}

/// Reads `name:address` or `name=address`.
pub fn host_entry(text: &str) -> Result<HostEntry, String> {
    let wrong = || format!("`{text}` is not NAME:ADDRESS or NAME:host-gateway");
    let at = text.find(['=', ':']).ok_or_else(wrong)?;
    let (name, address) = (&text[..at], &text[at + 1..]);
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(wrong());
    }
    let address = match address.trim_matches(['[', ']']) {
        "host-gateway" => None,
        address => Some(address.parse().map_err(|_| wrong())?),
    };
    Ok(HostEntry { name: name.to_owned(), address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishing_asks_for_a_bridge_and_nothing_asks_for_nothing() {
        let with = |text: Option<&str>, publish: &[&str]| {
            let network = text.map(|text| text.to_owned().into());
            let publish = publish.iter().map(|port| (*port).to_owned()).collect();
            mode(&NetworkArgs { network, publish, ..NetworkArgs::default() })
        };
        assert_eq!(with(None, &[]).unwrap(), NetworkMode::None);
        assert_eq!(with(None, &["80"]).unwrap(), NetworkMode::Named("bridge".into()));
        assert_eq!(with(Some("web"), &["80"]).unwrap(), NetworkMode::Named("web".into()));
        assert_eq!(with(Some("host"), &[]).unwrap(), NetworkMode::Host);
        assert!(with(Some("host"), &["80"]).is_err() && with(Some("none"), &["80"]).is_err());
    }

    #[test]
    fn names_for_hosts_are_read() {
        let entry = |text: &str| host_entry(text).map(|it| (it.name, it.address));
        let db = |address: [u8; 4]| Ok(("db".to_owned(), Some(address.into())));
        assert_eq!(entry("db:10.0.0.1"), db([10, 0, 0, 1]));
        assert_eq!(entry("db=10.0.0.1"), db([10, 0, 0, 1]));
        assert_eq!(entry("db:[::1]").unwrap().1, Some("::1".parse().unwrap()));
        assert_eq!(entry("out:host-gateway"), Ok(("out".to_owned(), None)));
        for wrong in ["", "db", ":1.2.3.4", "db:", "db:x", "a b:1.2.3.4"] {
            assert!(entry(wrong).is_err(), "{wrong}");
        }
    }
}
