//! Arguments of the verbs that speak with registries.

use clap::Args;

/// How a registry is spoken to.
#[derive(Debug, Clone, Copy, Args)]
pub struct RegistryArgs {
    /// Speak without TLS; registries on this machine are always spoken to so
    #[arg(long)]
    pub plain_http: bool,
}

#[derive(Debug, Args)]
pub struct PullArgs {
    /// The images
    #[arg(required = true, value_name = "[REGISTRY/]NAME[:TAG][@DIGEST]")]
    pub images: Vec<String>,
    #[command(flatten)]
    pub unpack: super::UnpackArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

#[derive(Debug, Args)]
pub struct PushArgs {
    /// The image; its name says where it goes
    #[arg(value_name = "[REGISTRY/]NAME[:TAG]")]
    pub image: String,
    /// Where it goes, if it is called something else there
    #[arg(value_name = "DESTINATION")]
    pub destination: Option<String>,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

#[derive(Debug, Args)]
pub struct LoginArgs {
    /// The registry
    #[arg(default_value = "docker.io")]
    pub server: String,
    /// The user
    #[arg(long, short)]
    pub username: String,
    /// Read the password, or an access token, from standard input
    #[arg(long, required = true)]
    pub password_stdin: bool,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

#[derive(Debug, Args)]
pub struct LogoutArgs {
    /// The registry
    #[arg(default_value = "docker.io")]
    pub server: String,
}
