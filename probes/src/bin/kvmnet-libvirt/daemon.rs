//! Which daemon answers a connection.

use std::fs;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use kvmnet_probes::facts::Daemon;
use nix::sys::socket::{UnixAddr, getpeername};

/// Tells by the socket that the connection went to: `libvirt-sock` is the single daemon's, or the
/// modular ones' proxy for old clients; `virtqemud-sock` and its like belong to the modular ones.
pub(crate) fn of(uri: &str) -> Daemon {
    if uri.starts_with("test:") {
        return Daemon::TestDriver;
    }
    peers()
        .iter()
        .map(|peer| of_socket(peer, Path::exists))
        .find(|found| *found != Daemon::Unknown)
        .unwrap_or(Daemon::Unknown)
}

fn of_socket(peer: &Path, exists: impl Fn(&Path) -> bool) -> Daemon {
    let name = peer.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name.starts_with("libvirt-sock") {
        let modular = ["virtqemud-sock", "virtnetworkd-sock"].map(|socket| peer.with_file_name(socket));
        if modular.iter().any(|socket| exists(socket)) { Daemon::Modular } else { Daemon::Libvirtd }
    } else if name.starts_with("virt") && name.contains("d-sock") {
        Daemon::Modular
    } else {
        Daemon::Unknown
    }
}

/// The paths of the Unix sockets that this process is connected to.
fn peers() -> Vec<PathBuf> {
    let Ok(descriptors) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
    descriptors
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok())
        .filter_map(|fd| getpeername::<UnixAddr>(fd).ok()?.path().map(Path::to_path_buf))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_tells_the_daemon() {
        let nothing = |_: &Path| false;
        let network = |path: &Path| path == Path::new("/run/libvirt/virtnetworkd-sock");
        let of = |name: &str, exists: &dyn Fn(&Path) -> bool| {
            of_socket(&Path::new("/run/libvirt").join(name), exists)
        };
        assert_eq!(of("libvirt-sock-ro", &nothing), Daemon::Libvirtd);
        assert_eq!(of("libvirt-sock", &network), Daemon::Modular);
        assert_eq!(of("virtqemud-sock-ro", &nothing), Daemon::Modular);
        assert_eq!(of("docker.sock", &nothing), Daemon::Unknown);
    }
}
