use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::Error;
use crate::error::Tried;

/// Whom the server runs as: PostgreSQL refuses to be root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Runner {
    /// We are an ordinary user already.
    Ourselves,
    /// We are root and step down.
    Other { name: String, uid: u32, gid: u32 },
}

impl Runner {
    pub(crate) fn choose() -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Ourselves);
        }
        let passwd = std::fs::read_to_string("/etc/passwd").tried(|| "read /etc/passwd".to_owned())?;
        ["postgres", "nobody"].into_iter().find_map(|name| account(&passwd, name)).ok_or(Error::NoUser)
    }

    pub(crate) fn step_down(&self, command: &mut Command) {
        if let Self::Other { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
    }

    pub(crate) fn own(&self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Ourselves => Ok(()),
            Self::Other { uid, gid, .. } => {
                chown(path, Some(*uid), Some(*gid)).tried(|| format!("hand over {}", path.display()))
            }
        }
    }

    /// Refuses a directory below one that the unprivileged user cannot enter.
    pub(crate) fn can_enter_parents_of(&self, path: &Path) -> Result<(), Error> {
        let Self::Other { name, uid, gid } = self else { return Ok(()) };
        for dir in path.ancestors().skip(1) {
            let meta = dir.metadata().tried(|| format!("look at {}", dir.display()))?;
            let bit = if meta.uid() == *uid {
                0o100
            } else if meta.gid() == *gid {
                0o010
            } else {
                0o001
            };
            if meta.permissions().mode() & bit == 0 {
                return Err(Error::Unreachable { user: name.clone(), dir: dir.to_path_buf() });
            }
        }
        Ok(())
    }
}

fn account(passwd: &str, wanted: &str) -> Option<Runner> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| *name == wanted)?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Runner::Other { name, uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::{Runner, account};

    #[test]
    fn an_account_is_read_from_its_passwd_line() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostgres:x:101:104:PostgreSQL,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(account(passwd, "postgres"), Some(Runner::Other { name: "postgres".into(), uid: 101, gid: 104 }));
        assert_eq!(account(passwd, "nobody"), None);
    }
}
