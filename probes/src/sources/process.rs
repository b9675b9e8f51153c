//! Processes, as /proc shows them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::facts::Process;

/// No argument list is shown beyond this: the longest that matters names a configuration file.
const MOST_COMMAND_BYTES: usize = 16 << 10;

/// A directory below /proc that stands for a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its id.
    pub(crate) pid: u32,
    /// Its name (`comm`), at most 15 bytes in the kernel.
    pub(crate) name: String,
    directory: PathBuf,
}

/// Every process that can be seen from here, by id.
pub(crate) fn all() -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let directory = entry?.path();
        let Some(pid) = directory.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
        // A process that ended meanwhile is none.
        if let Ok(name) = fs::read(directory.join("comm")) {
            let name = String::from_utf8_lossy(&name).trim_end_matches('\n').to_owned();
            found.push(Entry { pid, name, directory });
        }
    }
    found.sort_by_key(|entry| entry.pid);
    Ok(found)
}

impl Entry {
    /// What the facts keep of it.
    pub(crate) fn describe(&self) -> Process {
        let line = fs::read(self.directory.join("cmdline")).unwrap_or_default();
        let line = &line[..line.len().min(MOST_COMMAND_BYTES)];
        let line = line.strip_suffix(b"\0").unwrap_or(line);
        let words = line.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        let command = if line.is_empty() { Vec::new() } else { words.collect() };
        Process { pid: self.pid, name: self.name.clone(), command }
    }

    /// The inodes of its sockets; `None` if they may not be seen.
    pub(crate) fn sockets(&self) -> Option<Vec<u32>> {
        let descriptors = fs::read_dir(self.directory.join("fd")).ok()?;
        let mut inodes = Vec::new();
        for entry in descriptors {
            match fs::read_link(entry.ok()?.path()) {
                Ok(target) => inodes.extend(socket_inode(&target)),
                // The same user may list them, but not look at them, if the process has a capability more.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return None,
                // Closed meanwhile.
                Err(_) => {}
            }
        }
        Some(inodes)
    }

    /// Whether it is in the network namespace of this process; `None` if that may not be seen.
    pub(crate) fn shares_network(&self) -> Option<bool> {
        let own = fs::read_link("/proc/thread-self/ns/net").ok()?;
        Some(fs::read_link(self.directory.join("ns/net")).ok()? == own)
    }
}

/// `socket:[4711]`.
fn socket_inode(target: &Path) -> Option<u32> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen_with_its_sockets() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&socket)));
        let inode = socket_inode(&link.unwrap()).unwrap();
        let me = all().unwrap().into_iter().find(|entry| entry.pid == std::process::id()).unwrap();
        assert!(me.sockets().unwrap().contains(&inode));
        let command: Vec<_> = std::env::args().collect();
        assert_eq!(me.describe().command, command);
    }

    #[test]
    fn only_sockets_have_a_socket_inode() {
        for (target, expected) in
            [("socket:[4711]", Some(4711)), ("pipe:[4711]", None), ("/socket:[1]", None), ("socket:[]", None)]
        {
            assert_eq!(socket_inode(Path::new(target)), expected, "{target}");
        }
    }
}
