//! What configuration files set sysctls to.
//!
//! Patterns (`net.ipv4.conf.*.rp_filter`) are left out: they give way to whoever names a sysctl.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::files::{Files, has_extension};
use super::{Context, Meta, Reading};
use crate::facts::SysctlSetting;

pub(crate) const META: Meta = Meta {
    id: "sysctl-files",
    summary: "What configuration files set sysctls to",
    basis: "sysctl.d(5), sysctl(8) --system",
    since: "0.1.0",
};

/// A file hides those of the same name in the directories after its own.
const DIRECTORIES: [&str; 5] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];

/// `sysctl --system` takes it after all others, and distributions link it as the last of `/etc/sysctl.d`.
const LAST: &str = "/etc/sysctl.conf";

/// Reads the source. A file that cannot be read is a caveat.
#[expect(clippy::unused_async, reason = "the registry awaits every source; this one only reads files")]
pub(crate) async fn read(context: &Context) -> Result<Reading<Vec<SysctlSetting>>, Infallible> {
    let mut files = Files::below(&context.root);
    let paths = files.layered(&DIRECTORIES, |name| has_extension(name, "conf"));
    let mut settings = BTreeMap::new();
    for path in paths.into_values().chain([LAST.to_owned()]) {
        let text = files.read(&path).unwrap_or_default();
        for (name, value) in text.lines().filter_map(setting) {
            settings.insert(name.clone(), SysctlSetting { name, value, path: path.clone() });
        }
    }
    Ok(Reading { value: settings.into_values().collect(), caveats: files.caveats })
}

/// The sysctl of the network that a line sets, by its name with slashes, and the value.
fn setting(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let (name, value) = line.split_once('=').filter(|_| !line.starts_with(['#', ';']))?;
    // A minus in front: it is no error if it cannot be set.
    let name = name.trim().trim_start_matches('-').trim_start_matches('/');
    // The first separator says which of the two it is; the other one then stands for it in a device's name.
    let name = match name.find(['.', '/']) {
        Some(at) if name[at..].starts_with('.') => {
            name.chars().map(|c| if c == '.' { '/' } else if c == '/' { '.' } else { c }).collect()
        }
        _ => name.to_owned(),
    };
    let exact = name.starts_with("net/") && !name.contains(['*', '?', '[']);
    exact.then(|| (name, value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_sets_a_sysctl_by_either_way_of_writing_it() {
        for (line, expected) in [
            ("net.ipv4.ip_forward = 0", Some(("net/ipv4/ip_forward", "0"))),
            ("-net/ipv4/conf/eth0.10/forwarding=1", Some(("net/ipv4/conf/eth0.10/forwarding", "1"))),
            ("net.ipv4.conf.eth0/10.rp_filter = 1", Some(("net/ipv4/conf/eth0.10/rp_filter", "1"))),
            ("# net.ipv4.ip_forward = 0", None),
            ("net.ipv4.conf.*.rp_filter = 2", None),
            ("-net.ipv4.conf.all.rp_filter", None),
            ("kernel.panic = 10", None),
        ] {
            let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(setting(line), expected, "{line}");
        }
    }

    #[tokio::test]
    async fn the_last_file_by_name_wins_and_hides_those_of_its_name() {
        let root = std::env::temp_dir().join(format!("kvmnet-sysctl-{}", std::process::id()));
        for (path, text) in [
            ("etc/sysctl.d/50-a.conf", "net.ipv4.ip_forward = 1\n"),
            ("usr/lib/sysctl.d/50-a.conf", "net.ipv4.ip_forward = 0\n"),
            ("usr/lib/sysctl.d/40-b.conf", "net.ipv4.ip_forward = 2\nnet.ipv6.conf.all.forwarding = 1\n"),
            ("etc/sysctl.d/60-c.conf.bak", "net.ipv4.ip_forward = 3\n"),
            ("etc/sysctl.conf", "net.ipv6.conf.all.forwarding = 0\n"),
        ] {
            std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            std::fs::write(root.join(path), text).unwrap();
        }
        let Ok(Reading { value, caveats }) = read(&Context { root: root.clone(), ..Context::default() }).await;
        let found: Vec<_> =
            value.iter().map(|set| (set.name.as_str(), set.value.as_str(), set.path.as_str())).collect();
        let expected = [
            ("net/ipv4/ip_forward", "1", "/etc/sysctl.d/50-a.conf"),
            ("net/ipv6/conf/all/forwarding", "0", "/etc/sysctl.conf"),
        ];
        assert_eq!(found, expected);
        assert_eq!(caveats, Vec::<String>::new());
        std::fs::remove_dir_all(root).unwrap();
    }
}
