//! Calls of libvirt that the crate `virt` does not wrap.
//!
//! Only the program `kvmnet-libvirt` includes this file: nothing else may link libvirt.

#![expect(unsafe_code, reason = "the crate virt has no safe wrapper for these calls")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;
use virt::network::Network;
use virt::sys;

/// A DHCP lease as libvirt tells it (`virNetworkDHCPLease`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawLease {
    /// When it ends, in seconds since the Unix epoch.
    pub(crate) expires_s: i64,
    /// The guest's MAC.
    pub(crate) mac: Option<String>,
    /// The address.
    pub(crate) address: String,
    /// The subnet's prefix length.
    pub(crate) prefix: u32,
    /// The name that the guest gave.
    pub(crate) hostname: Option<String>,
    /// The client identifier that the guest gave.
    pub(crate) client_id: Option<String>,
}

/// A filter bound to a tap, as libvirt tells it (`virNWFilterBinding`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawBinding {
    /// The tap.
    pub(crate) port: String,
    /// The filter.
    pub(crate) filter: String,
    /// The binding's XML.
    pub(crate) xml: String,
}

/// The leases that libvirt's DHCP server of a network gave (`virNetworkGetDHCPLeases`).
pub(crate) fn leases(network: &Network) -> Result<Vec<RawLease>, Error> {
    list(
        // SAFETY: the network is alive for the call, a null MAC asks for all leases.
        |items| unsafe { sys::virNetworkGetDHCPLeases(network.as_ptr(), ptr::null(), items, 0) },
        // SAFETY: libvirt hands over a valid lease whose strings are null or end in NUL; all are
        // copied before the lease is freed, once.
        |lease| unsafe {
            let raw = RawLease {
                expires_s: (*lease).expirytime,
                mac: copy((*lease).mac),
                address: copy((*lease).ipaddr).unwrap_or_default(),
                prefix: (*lease).prefix,
                hostname: copy((*lease).hostname),
                client_id: copy((*lease).clientid),
            };
            sys::virNetworkDHCPLeaseFree(lease);
            Ok(raw)
        },
    )
}

/// The XML of each port of a network (`virNetworkListAllPorts`).
pub(crate) fn ports(network: &Network) -> Result<Vec<String>, Error> {
    list(
        // SAFETY: the network is alive for the call.
        |items| unsafe { sys::virNetworkListAllPorts(network.as_ptr(), items, 0) },
        // SAFETY: libvirt hands over a valid port, which is freed once, after its last use.
        |port| unsafe {
            let xml = take(sys::virNetworkPortGetXMLDesc(port, 0));
            sys::virNetworkPortFree(port);
            xml
        },
    )
}

/// The filters that are bound to taps now (`virConnectListAllNWFilterBindings`).
pub(crate) fn filter_bindings(connection: &Connect) -> Result<Vec<RawBinding>, Error> {
    list(
        // SAFETY: the connection is open for the call.
        |items| unsafe { sys::virConnectListAllNWFilterBindings(connection.as_ptr(), items, 0) },
        // SAFETY: libvirt hands over a valid binding that owns the two names; they are copied
        // before the binding is freed, once.
        |binding| unsafe {
            let port = copy(sys::virNWFilterBindingGetPortDev(binding)).unwrap_or_default();
            let filter = copy(sys::virNWFilterBindingGetFilterName(binding)).unwrap_or_default();
            let xml = take(sys::virNWFilterBindingGetXMLDesc(binding, 0));
            sys::virNWFilterBindingFree(binding);
            Ok(RawBinding { port, filter, xml: xml? })
        },
    )
}

/// An address that a guest's agent reports (`virDomainInterface`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawAddress {
    /// The MAC of the guest's device, if the device has one.
    pub(crate) mac: Option<String>,
    /// The address.
    pub(crate) address: String,
    /// The prefix length.
    pub(crate) prefix: u32,
}

/// What a guest's agent says about its addresses (`virDomainInterfaceAddresses`). Blocks until the
/// agent answers or the daemon gives it up. The crate's own wrapper reads a device without a MAC
/// through a null pointer.
pub(crate) fn agent_addresses(domain: &Domain) -> Result<Vec<RawAddress>, Error> {
    let source = sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT;
    let devices = list(
        // SAFETY: the domain is alive for the call.
        |items| unsafe { sys::virDomainInterfaceAddresses(domain.as_ptr(), items, source, 0) },
        // SAFETY: libvirt hands over a valid device with `naddrs` valid addresses, whose strings
        // are null or end in NUL; all are copied before the device is freed, once.
        |device| unsafe {
            let mac = copy((*device).hwaddr);
            let addresses: Vec<_> = (0..(*device).naddrs as usize)
                .map(|index| (*device).addrs.add(index))
                .map(|address| RawAddress {
                    mac: mac.clone(),
                    address: copy((*address).addr).unwrap_or_default(),
                    prefix: (*address).prefix,
                })
                .collect();
            sys::virDomainInterfaceFree(device);
            Ok(addresses)
        },
    )?;
    Ok(devices.into_iter().flatten().collect())
}

/// Calls one of libvirt's `ListAll` functions and converts every item, each exactly once.
fn list<P: Copy, T>(
    call: impl FnOnce(*mut *mut P) -> c_int,
    convert: impl Fn(P) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut items: *mut P = ptr::null_mut();
    let Ok(count) = usize::try_from(call(&raw mut items)) else { return Err(Error::last_error()) };
    // The error is taken at once: the next call would overwrite it.
    // SAFETY: libvirt allocated `count` items there, and the array is still alive.
    let converted: Vec<_> = (0..count).map(|index| convert(unsafe { *items.add(index) })).collect();
    // SAFETY: libvirt allocated the array with malloc and leaves it to the caller; null is allowed.
    unsafe { libc::free(items.cast::<c_void>()) };
    converted.into_iter().collect()
}

/// A copy of a C string, `None` for a null pointer.
///
/// # Safety
/// `text` is null or ends in NUL.
unsafe fn copy(text: *const c_char) -> Option<String> {
    // SAFETY: not null, so by this function's contract it ends in NUL.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// A string that libvirt allocated for the caller; null means that the call failed.
///
/// # Safety
/// `text` is null, or ends in NUL and came from malloc, and nobody uses it afterwards.
unsafe fn take(text: *mut c_char) -> Result<String, Error> {
    // SAFETY: by this function's contract.
    let copied = unsafe { copy(text) }.ok_or_else(Error::last_error);
    // SAFETY: by this function's contract; null is allowed.
    unsafe { libc::free(text.cast::<c_void>()) };
    copied
}
