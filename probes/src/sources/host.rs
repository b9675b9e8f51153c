//! Who the host is (`uname(2)`).

use nix::sys::utsname::uname;

use crate::facts::HostIdentity;

/// The node's name and the kernel's release, empty where the kernel does not say.
pub(crate) fn identity() -> HostIdentity {
    uname().map_or_else(
        |_| HostIdentity { name: String::new(), kernel: String::new() },
        |uname| HostIdentity {
            name: uname.nodename().to_string_lossy().into_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
        },
    )
}
