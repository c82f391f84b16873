//! Images that are brought in when they are needed.

use std::sync::Arc;

use bulkhead_image::registry::{Registry, RegistryError, RegistryOptions, RemoteRef};
use bulkhead_image::{Image, ImportError, NoProgress, StoreError, UnpackLimits};

use crate::args::PullChoice;
use crate::context::Context;
use crate::failure::{Failure, chain};
use crate::progress::Transfers;

/// An image that is not here and cannot be brought here.
#[derive(Debug, thiserror::Error)]
#[error("the image `{name}` is not here, and it cannot be pulled")]
struct Absent {
    name: String,
    #[source]
    source: NotPulled,
}

/// Why it cannot be pulled.
#[derive(Debug, thiserror::Error)]
enum NotPulled {
    #[error("it has no name that a registry could know: {0}")]
    Name(String),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Import(#[from] ImportError),
}

/// An image by name or digest, pulled when `choice` says so.
pub fn image(context: &Context, name: &str, choice: PullChoice) -> Result<Image, Failure> {
    if choice == PullChoice::Always {
        // What cannot be anybody else's is here or nowhere.
        return match name.parse::<RemoteRef>() {
            Ok(remote) => Ok(pull(context, &remote)?),
            Err(_) => context.image(name),
        };
    }
    match context.find(name)? {
        Some(image) => Ok(image),
        None if choice == PullChoice::Never => {
            Err(Failure::new(StoreError::NotFound(name.to_owned()))
                .hint("leave --pull never out to have it pulled"))
        }
        None => missing(context, name),
    }
}

fn missing(context: &Context, name: &str) -> Result<Image, Failure> {
    let pulled = match name.parse::<RemoteRef>() {
        Ok(remote) => pull(context, &remote),
        Err(error) => Err(NotPulled::Name(chain(&error))),
    };
    pulled.map_err(|source| {
        Failure::new(Absent { name: name.to_owned(), source }).hint(
            "`bulkhead image ls` shows the images there are, `bulkhead image import` brings one \
             in from a file",
        )
    })
}

fn pull(context: &Context, remote: &RemoteRef) -> Result<Image, NotPulled> {
    eprintln!("bulkhead: pulling {remote}");
    let bars = Arc::new(Transfers::new());
    let registry = Registry::of(remote, RegistryOptions::default(), bars.clone())?;
    let pulled = context.store().pull(remote, &registry, UnpackLimits::default(), &NoProgress);
    bars.clear();
    Ok(pulled?.image)
}
