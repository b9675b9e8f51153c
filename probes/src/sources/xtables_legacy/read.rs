//! Asks for the tables that exist. A table that is not listed is not asked for: the kernel would load
//! its module and make it.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::blob::{self, Info, Malformed};
use crate::facts::{Family, Table};
use crate::sources::{Context, Meta, Reading};
use crate::sys;

pub(crate) const META: Meta = Meta {
    id: "xtables-legacy",
    summary: "Tables of iptables-legacy and ip6tables-legacy",
    basis: "IPT_SO_GET_ENTRIES, include/uapi/linux/netfilter_ipv4/ip_tables.h",
    since: "0.1.0",
};

/// How often a table that changes between the question for its size and its reading is tried.
const TRIES: u32 = 5;

/// `IPT_SO_GET_INFO` and `IP6T_SO_GET_INFO`.
const GET_INFO: libc::c_int = 64;
/// `IPT_SO_GET_ENTRIES` and `IP6T_SO_GET_ENTRIES`.
const GET_ENTRIES: libc::c_int = 65;

/// A table could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The list of tables is there but cannot be read.
    #[error("read {file}")]
    Names { file: &'static str, source: io::Error },
    /// There is no socket to ask by.
    #[error("open a socket for {family} tables")]
    Socket { family: Family, source: io::Error },
    /// The kernel refused.
    #[error("read legacy table {family} {table}")]
    Ask { family: Family, table: String, source: io::Error },
    /// The answer does not hold together.
    #[error("decode legacy table {family} {table}")]
    Answer { family: Family, table: String, source: Malformed },
}

/// Reads the source.
pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<Table>>, Error> {
    let mut tables = Vec::new();
    for (family, file) in
        [(Family::Ip, "/proc/thread-self/net/ip_tables_names"), (Family::Ip6, "/proc/thread-self/net/ip6_tables_names")]
    {
        for name in names(file)? {
            tables.push(table(family, &name)?);
        }
    }
    let mut caveats = Vec::new();
    if !names("/proc/thread-self/net/arp_tables_names")?.is_empty() {
        caveats.push("there are tables of arptables-legacy, which are not read".to_owned());
    }
    Ok(Reading { value: tables, caveats })
}

/// The tables that exist; none where the file is absent, because the module is not loaded then.
fn names(file: &'static str) -> Result<Vec<String>, Error> {
    match fs::read_to_string(Path::new(file)) {
        Ok(text) => {
            let mut names: Vec<_> = text.lines().map(str::to_owned).collect();
            names.sort();
            Ok(names)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(Error::Names { file, source }),
    }
}

fn table(family: Family, name: &str) -> Result<Table, Error> {
    let answer = |source| Error::Answer { family, table: name.to_owned(), source };
    let mut tries = 1;
    loop {
        match entries(family, name) {
            Ok((info, entries)) => {
                let info = Info::parse(&info).map_err(answer)?;
                return blob::table(family, name, &info, &entries).map_err(answer);
            }
            // The table was replaced in between: the size is another one now.
            Err(Error::Ask { source, .. }) if source.raw_os_error() == Some(libc::EAGAIN) && tries < TRIES => {
                tries += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// `struct ipt_getinfo` and the entries of `struct ipt_get_entries`, raw.
fn entries(family: Family, name: &str) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let (domain, level) = if family == Family::Ip6 {
        (AddressFamily::Inet6, libc::IPPROTO_IPV6)
    } else {
        (AddressFamily::Inet, libc::IPPROTO_IP)
    };
    let socket = socket(domain, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|error| Error::Socket { family, source: error.into() })?;
    let ask = |option, value: &mut [u8]| {
        sys::xtables::ask(socket.as_fd(), level, option, value)
            .map_err(|source| Error::Ask { family, table: name.to_owned(), source })
    };
    let answer = |source| Error::Answer { family, table: name.to_owned(), source };

    let mut info = blob::question(name, Info::LENGTH).map_err(answer)?;
    ask(GET_INFO, &mut info)?;
    let size = Info::parse(&info).map_err(answer)?.size;
    let mut entries = blob::question(name, blob::ENTRIES_AT + size as usize).map_err(answer)?;
    entries[blob::NAME_LENGTH..][..4].copy_from_slice(&size.to_ne_bytes());
    ask(GET_ENTRIES, &mut entries)?;
    Ok((info, entries.split_off(blob::ENTRIES_AT)))
}
