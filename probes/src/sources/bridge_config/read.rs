//! Reads all formats.

use std::convert::Infallible;

use super::super::{Context, Meta, Reading};
use super::devices::Devices;
use super::super::files::Files;
use super::{ifcfg, ifupdown, netplan, network_manager, networkd};
use crate::facts::{BridgeConfigFile, TakenDevice};

pub(crate) const META: Meta = Meta {
    id: "bridge-config",
    summary: "How bridges are configured to come back after a reboot",
    basis: "nm-settings-keyfile(5), systemd.network(5), netplan(5), bridge-utils-interfaces(5), \
            Red Hat's sysconfig.txt",
    since: "0.1.0",
};

/// What a format's reader needs: the files, and the devices that patterns in them mean.
pub(super) struct Host<'a> {
    pub(super) files: Files<'a>,
    pub(super) devices: Devices,
}

impl<'a> Host<'a> {
    fn new(context: &'a Context) -> Self {
        let mut files = Files::below(&context.root);
        let devices = Devices::of_this_host().unwrap_or_else(|error| {
            files.caveat(format!("list devices, for files that name them by pattern or MAC: {error}"));
            Devices::default()
        });
        Self { files, devices }
    }
}

/// Reads the source. A file that cannot be read or understood is a caveat.
pub(crate) async fn read(context: &Context) -> Result<Reading<Vec<BridgeConfigFile>>, Infallible> {
    let mut host = Host::new(context);
    let readers = [network_manager::read, networkd::read, netplan::read, ifupdown::read, ifcfg::read];
    let mut value: Vec<_> = readers.into_iter().flat_map(|read| read(&mut host)).collect();
    value.sort_by(|one, other| {
        let key = |file: &BridgeConfigFile| (file.bridge.clone(), file.format, file.path.clone());
        key(one).cmp(&key(other))
    });
    Ok(Reading { value, caveats: host.files.caveats })
}

/// The devices that a file of systemd-networkd's takes by a pattern.
pub(crate) fn taken_by_networkd(context: &Context) -> Reading<Vec<TakenDevice>> {
    let mut host = Host::new(context);
    let value = networkd::taken(&mut host);
    Reading { value, caveats: host.files.caveats }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::facts::IfName;

    /// Files below a directory of its own, removed at the end.
    pub(in super::super) struct Tree(PathBuf);

    impl Tree {
        pub(in super::super) fn new(files: &[(&str, &str)]) -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            let root = std::env::temp_dir().join(format!("kvmnet-bridges-{}-{next}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }

        fn host(&self) -> Host<'_> {
            let devices = Devices::from(vec![
                ("br0".into(), "52:54:00:00:00:01".parse().ok()),
                ("eth0".into(), "52:54:00:00:00:02".parse().ok()),
                ("eth1".into(), "52:54:00:00:00:01".parse().ok()),
                ("lo".into(), None),
            ]);
            Host { files: Files::below(&self.0), devices }
        }

        pub(in super::super) fn with_host<T>(&self, read: fn(&mut Host<'_>) -> T) -> T {
            read(&mut self.host())
        }

        /// What one format's reader finds: `BRIDGE: PORTS` with `off` if it stays down at boot; and
        /// the caveats.
        pub(in super::super) fn read(
            &self,
            read: fn(&mut Host<'_>) -> Vec<BridgeConfigFile>,
        ) -> (Vec<String>, Vec<String>) {
            let mut host = self.host();
            let mut found: Vec<_> = read(&mut host)
                .iter()
                .map(|file| {
                    let ports: Vec<_> = file.ports.iter().map(IfName::as_str).collect();
                    let off = if file.at_boot { "" } else { " off" };
                    format!("{}:{}{}{off}", file.bridge, if ports.is_empty() { "" } else { " " }, ports.join(" "))
                })
                .collect();
            found.sort();
            (found, host.files.caveats)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Checks what one format's reader finds, and that it has no caveat.
    pub(in super::super) fn check(
        read: fn(&mut Host<'_>) -> Vec<BridgeConfigFile>,
        files: &[(&str, &str)],
        expected: &[&str],
    ) {
        let (found, caveats) = Tree::new(files).read(read);
        assert_eq!(found, expected, "{files:?}");
        assert_eq!(caveats, Vec::<String>::new(), "{files:?}");
    }

    #[tokio::test]
    async fn all_formats_of_a_host_are_read_and_sorted() {
        let tree = Tree::new(&[
            ("etc/network/interfaces", "auto br1\niface br1 inet manual\n bridge_ports none\n"),
            ("etc/systemd/network/br0.netdev", "[NetDev]\nName=br0\nKind=bridge\n"),
            ("etc/netplan/bad.yaml", "network: [\n"),
        ]);
        let context = Context { root: tree.0.clone(), ..Context::default() };
        let Ok(Reading { value, caveats }) = read(&context).await;
        let found: Vec<_> = value.iter().map(|file| (file.bridge.as_str(), file.path.as_str())).collect();
        assert_eq!(found, [("br0", "/etc/systemd/network/br0.netdev"), ("br1", "/etc/network/interfaces")]);
        assert!(matches!(&caveats[..], [one] if one.starts_with("/etc/netplan/bad.yaml: ")), "{caveats:?}");
    }

    #[tokio::test]
    async fn a_host_without_any_has_none_and_nothing_to_say() {
        let tree = Tree::new(&[]);
        let context = Context { root: tree.0.clone(), ..Context::default() };
        let Ok(reading) = read(&context).await;
        assert_eq!(reading, Reading::from(Vec::new()));
    }
}
