//! Users and groups of an image: what its `/etc/passwd` and `/etc/group` say.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::merged::MergedView;

/// Longest account file read; a Debian system's have one or two KiB.
const FILE_LIMIT: u64 = 1024 * 1024;

/// The accounts an image knows, in the order of its files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounts {
    /// Lines of `/etc/passwd`.
    pub users: Vec<Account>,
    /// Lines of `/etc/group`.
    pub groups: Vec<Group>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Id of the user's own group.
    pub gid: u32,
    /// Home directory.
    pub home: String,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Group id.
    pub gid: u32,
    /// Names of its members.
    pub members: Vec<String>,
}

impl Accounts {
    /// Parses the text of `/etc/passwd` and `/etc/group` (passwd(5), group(5)).
    /// Lines that are neither are passed over, as every reader of them does.
    #[must_use]
    pub fn parse(passwd: &str, group: &str) -> Self {
        Self {
            users: passwd.lines().filter_map(parse_user).collect(),
            groups: group.lines().filter_map(parse_group).collect(),
        }
    }

    /// Reads the files out of a stack of layers; missing ones are empty.
    pub(crate) fn read(layers: &MergedView) -> io::Result<Self> {
        let read = |path: &str| -> io::Result<String> {
            let bytes = match layers.read(Path::new(path), FILE_LIMIT) {
                // A loop of symlinks is no file.
                Err(e) if e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                    None
                }
                other => other?,
            };
            Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
        };
        Ok(Self::parse(&read("/etc/passwd")?, &read("/etc/group")?))
    }
}

fn parse_user(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = fields.nth(1).unwrap_or_default();
    Some(Account { name: name.to_owned(), uid, gid, home: home.to_owned() })
}

fn parse_group(line: &str) -> Option<Group> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let gid = fields.nth(1)?.parse().ok()?;
    let members = fields.next().unwrap_or_default().split(',').map(str::trim);
    let members = members.filter(|member| !member.is_empty()).map(str::to_owned).collect();
    Some(Group { name: name.to_owned(), gid, members })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_parsed() {
        let accounts = Accounts::parse(
            "root:x:0:0:root:/root:/bin/sh\n# no\nbad:x:y:0::/:\nwww:*:33:33::/var/www:/no\nlast:x:7:8",
            "root:x:0:\nadm:*:4:root, www\nbroken\n",
        );
        let users: Vec<_> =
            accounts.users.iter().map(|u| (&*u.name, u.uid, u.gid, &*u.home)).collect();
        assert_eq!(
            users,
            [("root", 0, 0, "/root"), ("www", 33, 33, "/var/www"), ("last", 7, 8, "")]
        );
        assert_eq!(accounts.groups.len(), 2);
        assert_eq!(accounts.groups[1].members, ["root", "www"]);
    }
}
