//! The lab by itself: what the guests reach on a healthy host, asked of the guests, not of kvmnet. The
//! other tests stand on this.

use crate::host::{Backend, INTERNET};
use crate::shared_host::on_shared_host;

fn guests_reach_what_their_network_allows(backend: Backend) {
    on_shared_host(backend, |host| {
        for (guest, address, reached) in [
            ("web1", "192.168.122.1", true),
            ("web1", INTERNET, true),
            ("web1", "192.168.150.1", true),
            ("db1", "192.168.150.1", true),
            ("db1", INTERNET, false),
            ("lan1", "10.20.0.1", true),
            ("lan1", INTERNET, true),
        ] {
            assert_eq!(host.guest_reaches(guest, address), reached, "{guest} to {address}");
        }
        assert_eq!(
            host.guest("web1", "nslookup internet.example 192.168.122.1 >/dev/null; hostname"),
            (0, "web1\n".to_owned())
        );
        host.inet("ping -q -c 1 -W 1 10.20.0.11");
        host.sh("ping -q -c 1 -W 1 10.20.0.11");
    });
}

#[test]
fn guests_reach_what_their_network_allows_nftables() {
    guests_reach_what_their_network_allows(Backend::Nftables);
}

#[test]
fn guests_reach_what_their_network_allows_iptables() {
    guests_reach_what_their_network_allows(Backend::Iptables);
}
