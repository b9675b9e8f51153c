//! Asks libvirt for everything that the facts hold.

use std::fmt::Display;

use kvmnet_probes::facts::{
    Daemon, Domain, DomainState, FilterBinding, IfName, Lease, Libvirt, Network, NetworkConfig, NwFilter,
};
use kvmnet_probes::sources::libvirt_xml::{self as xml, DomainXml};
use virt::connect::Connect;
use virt::error::{Error, ErrorNumber};
use virt::{domain, network, nwfilter, sys};

use crate::sys::{self as calls, RawLease};
use crate::{agent, daemon};

/// Everything that the connection says; an error only where it says nothing at all.
pub(crate) fn libvirt(connection: &Connect) -> Result<Libvirt, Error> {
    let uri = connection.get_uri()?;
    let version = version(connection.get_lib_version()?);
    let mut reader = Reader { daemon: daemon::of(&uri), unread: Vec::new(), agents: Vec::new() };
    let networks = connection.list_all_networks(0);
    let networks = reader.items("networks", networks, network::Network::get_name, Reader::network);
    let domains = connection.list_all_domains(0);
    let mut domains = reader.items("domains", domains, domain::Domain::get_name, Reader::domain);
    let filters = connection.list_all_nw_filters(0);
    let filters = reader.items("filters", filters, nwfilter::NWFilter::get_name, Reader::filter);
    let filter_bindings = reader.filter_bindings(connection);

    let Reader { daemon, mut unread, agents } = reader;
    let (mut answers, silent) = agent::ask(&uri, agents);
    unread.extend(silent);
    for domain in &mut domains {
        domain.agent_addresses = answers.remove(&domain.uuid);
    }
    // The firewall backend stands in a file of the host, which the parent reads.
    Ok(Libvirt {
        uri,
        daemon,
        version,
        firewall_backend: None,
        networks,
        domains,
        filters,
        filter_bindings,
        unread,
    })
}

/// libvirt's number: a million for the major, a thousand for the minor version.
fn version(number: u32) -> String {
    format!("{}.{}.{}", number / 1_000_000, number / 1000 % 1000, number % 1000)
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error("{}", .0.message())]
    Libvirt(#[from] Error),
    #[error("{0}")]
    Xml(#[from] xml::Error),
}

impl Unread {
    /// The driver has no such thing, or it was removed since it was listed.
    fn is_absence(&self) -> bool {
        use ErrorNumber::{NoDomain, NoNetwork, NoNetworkPort, NoNwfilter, NoNwfilterBinding, NoSupport};
        match self {
            Self::Libvirt(error) => matches!(
                error.code(),
                NoSupport | NoNetwork | NoDomain | NoNwfilter | NoNwfilterBinding | NoNetworkPort
            ),
            Self::Xml(_) => false,
        }
    }
}

struct Reader {
    daemon: Daemon,
    unread: Vec<String>,
    /// UUID and name of the domains whose agent can be asked.
    agents: Vec<(String, String)>,
}

impl Reader {
    /// Keeps the error for the report, unless it only says that there is nothing.
    fn or_note<T>(&mut self, what: impl Display, result: Result<T, impl Into<Unread>>) -> Option<T> {
        match result.map_err(Into::into) {
            Ok(value) => Some(value),
            Err(error) => {
                if !error.is_absence() {
                    self.unread.push(format!("{what}: {error}"));
                }
                None
            }
        }
    }

    /// Reads every item of a list, and sorts them by name.
    fn items<O, T>(
        &mut self,
        kind: &str,
        listed: Result<Vec<O>, Error>,
        name: fn(&O) -> Result<String, Error>,
        read: fn(&mut Self, &O, String) -> Result<T, Unread>,
    ) -> Vec<T> {
        let mut objects: Vec<_> = self
            .or_note(kind, listed)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|object| Some((self.or_note(kind, name(&object))?, object)))
            .collect();
        objects.sort_by(|(one, _), (other, _)| one.cmp(other));
        objects
            .into_iter()
            .filter_map(|(name, object)| {
                let what = format!("{kind}: {name}");
                let result = read(self, &object, name);
                self.or_note(what, result)
            })
            .collect()
    }

    fn network(&mut self, network: &network::Network, name: String) -> Result<Network, Unread> {
        let active = network.is_active()?;
        let persistent = network.is_persistent()?;
        let config: NetworkConfig = network.get_xml_desc(0)?.parse()?;
        // The test driver knows one configuration only, and refuses the flag.
        let saved = if active && persistent && self.daemon != Daemon::TestDriver {
            let saved: NetworkConfig = network.get_xml_desc(sys::VIR_NETWORK_XML_INACTIVE)?.parse()?;
            (saved != config).then_some(saved)
        } else {
            None
        };
        let leases = self.or_note(format!("leases of network {name}"), calls::leases(network));
        // libvirt refuses to list those of a network that does not run: it has none.
        let ports = if active {
            self.or_note(format!("ports of network {name}"), calls::ports(network))
        } else {
            Some(Vec::new())
        };
        Ok(Network {
            uuid: network.get_uuid_string()?,
            active,
            autostart: network.get_autostart()?,
            persistent,
            config,
            saved,
            leases: self.leases(&name, leases.unwrap_or_default()),
            ports: match ports {
                Some(ports) => {
                    let mut ports =
                        ports.iter().map(|port| xml::port(port)).collect::<Result<Vec<_>, _>>()?;
                    ports.sort_by(|one, other| one.uuid.cmp(&other.uuid));
                    Some(ports)
                }
                None => None,
            },
            name,
        })
    }

    fn leases(&mut self, network: &str, leases: Vec<RawLease>) -> Vec<Lease> {
        let mut read = Vec::with_capacity(leases.len());
        for lease in leases {
            if let (Ok(address), Ok(prefix_length)) = (lease.address.parse(), u8::try_from(lease.prefix)) {
                let mac = lease.mac.and_then(|mac| mac.parse().ok());
                let RawLease { hostname, client_id, expires_s, .. } = lease;
                read.push(Lease { mac, address, prefix_length, hostname, client_id, expires_s });
            } else {
                self.unread.push(format!(
                    "leases of network {network}: address {:?}/{}",
                    lease.address, lease.prefix
                ));
            }
        }
        read.sort_by_key(|lease| (lease.address, lease.mac));
        read
    }

    fn domain(&mut self, domain: &domain::Domain, name: String) -> Result<Domain, Unread> {
        let uuid = domain.get_uuid_string()?;
        let state = state(domain.get_state()?.0);
        let persistent = domain.is_persistent()?;
        let DomainXml { interfaces, agent_connected, tags } = domain.get_xml_desc(0)?.parse()?;
        let saved_interfaces = if state.is_active() && persistent {
            let saved: DomainXml = domain.get_xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)?.parse()?;
            (!xml::runs_as_saved(&interfaces, &saved.interfaces)).then_some(saved.interfaces)
        } else {
            None
        };
        if agent_connected && state == DomainState::Running {
            self.agents.push((uuid.clone(), name.clone()));
        }
        let autostart = domain.get_autostart()?;
        Ok(Domain {
            name,
            uuid,
            state,
            autostart,
            persistent,
            interfaces,
            saved_interfaces,
            tags,
            agent_addresses: None,
        })
    }

    #[expect(clippy::unused_self, reason = "one signature for all that `items` reads")]
    fn filter(&mut self, filter: &nwfilter::NWFilter, name: String) -> Result<NwFilter, Unread> {
        let includes = xml::includes(&filter.get_xml_desc(0)?)?;
        Ok(NwFilter { name, uuid: filter.get_uuid_string()?, includes })
    }

    fn filter_bindings(&mut self, connection: &Connect) -> Vec<FilterBinding> {
        let bindings =
            self.or_note("filter bindings", calls::filter_bindings(connection)).unwrap_or_default();
        let mut read: Vec<_> = bindings
            .into_iter()
            .filter_map(|binding| {
                let owner = xml::binding_owner(&binding.xml);
                let domain = self.or_note(format!("filter binding of {}", binding.port), owner)?;
                Some(FilterBinding { port: IfName(binding.port), filter: binding.filter, domain })
            })
            .collect();
        read.sort_by(|one, other| one.port.cmp(&other.port));
        read
    }
}

fn state(state: sys::virDomainState) -> DomainState {
    match state {
        sys::VIR_DOMAIN_RUNNING => DomainState::Running,
        sys::VIR_DOMAIN_BLOCKED => DomainState::Blocked,
        sys::VIR_DOMAIN_PAUSED => DomainState::Paused,
        sys::VIR_DOMAIN_SHUTDOWN => DomainState::ShuttingDown,
        sys::VIR_DOMAIN_SHUTOFF => DomainState::ShutOff,
        sys::VIR_DOMAIN_CRASHED => DomainState::Crashed,
        sys::VIR_DOMAIN_PMSUSPENDED => DomainState::Suspended,
        _ => DomainState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_number_is_written_as_people_write_it() {
        assert_eq!(version(11_003_000), "11.3.0");
        assert_eq!(version(6_001_002), "6.1.2");
    }
}
