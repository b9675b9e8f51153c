//! A healthy host: nothing is found on it, and every claim of the model holds.

use crate::host::Backend;
use crate::shared_host::{assert_healthy, on_shared_host};

#[test]
fn nftables() {
    on_shared_host(Backend::Nftables, assert_healthy);
}

#[test]
fn iptables() {
    on_shared_host(Backend::Iptables, assert_healthy);
}
