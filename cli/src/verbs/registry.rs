//! `bulkhead pull`, `push`, `login` and `logout`.

use std::io::{self, Read};
use std::process::ExitCode;
use std::sync::Arc;

use bulkhead_image::registry::{Credentials, Registry, RegistryOptions, RemoteRef};
use bulkhead_image::{ImageRef, NoProgress};

use crate::args::{LoginArgs, LogoutArgs, PullArgs, PushArgs, RegistryArgs};
use crate::context::Context;
use crate::failure::Failure;
use crate::progress::Transfers;
use crate::stdout;

/// Longest password read.
const PASSWORD_LIMIT: u64 = 64 * 1024;

/// What a login asks for when only a request shows whether the password is right.
const ANY_IMAGE: &str = "bulkhead/login";

impl From<RegistryArgs> for RegistryOptions {
    fn from(args: RegistryArgs) -> Self {
        Self { plain_http: args.plain_http }
    }
}

pub fn pull(context: &Context, args: &PullArgs) -> Result<ExitCode, Failure> {
    let limits = args.unpack.limits();
    for written in &args.images {
        let remote: RemoteRef = written.parse()?;
        let bars = Arc::new(Transfers::new());
        let registry = Registry::of(&remote, args.registry.into(), bars.clone())?;
        let pulled = context.store().pull(&remote, &registry, limits, &NoProgress);
        bars.clear();
        let pulled = pulled?;
        let state = if pulled.new { "" } else { " (already here)" };
        stdout::line(format_args!("{} {}{state}", remote.name(), pulled.image.digest()))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub fn push(context: &Context, args: &PushArgs) -> Result<ExitCode, Failure> {
    let image = context.image(&args.image)?;
    let name: ImageRef = args.destination.as_ref().unwrap_or(&args.image).parse()?;
    let remote = RemoteRef::named(name);
    let bars = Arc::new(Transfers::new());
    let registry = Registry::of(&remote, args.registry.into(), bars.clone())?;
    let pushed = context.store().push(&image, &registry);
    bars.clear();
    pushed?;
    stdout::line(format_args!("{remote} {}", image.digest()))?;
    Ok(ExitCode::SUCCESS)
}

pub fn login(args: &LoginArgs) -> Result<ExitCode, Failure> {
    let mut password = String::new();
    io::stdin().take(PASSWORD_LIMIT).read_to_string(&mut password).map_err(NoPassword)?;
    let password = password.trim_end_matches(['\r', '\n']).to_owned();
    let credentials = Credentials::Password { user: args.username.clone(), password };
    let any: RemoteRef = format!("{}/{ANY_IMAGE}", args.server).parse()?;
    let silent = Arc::new(NoProgress);
    Registry::with(&any, &credentials, args.registry.into(), silent)?.check_login()?;
    let path = credentials.keep(&args.server)?;
    stdout::line(format_args!("logged in to {}; kept in {}", args.server, path.display()))?;
    Ok(ExitCode::SUCCESS)
}

pub fn logout(args: &LogoutArgs) -> Result<ExitCode, Failure> {
    let said = if Credentials::forget(&args.server)? {
        "logged out of"
    } else {
        "was not logged in to"
    };
    stdout::line(format_args!("{said} {}", args.server))?;
    Ok(ExitCode::SUCCESS)
}

/// Standard input gave no password.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the password from standard input")]
struct NoPassword(#[source] io::Error);
