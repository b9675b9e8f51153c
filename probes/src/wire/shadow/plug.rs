//! A tap becomes a port of a bridge: netlink messages to the kernel, the only ones of kvmnet that change something.

use std::io;
use std::time::Duration;

use netlink_sys::{Socket as Blocking, SocketAddr, protocols::NETLINK_ROUTE};
use tokio::time::{Instant, sleep};

use super::{Shadow, Unplugged};
use crate::facts::{BridgePort, IfIndex, IfName, Mac, PortState};
use crate::sources::{brport, port_of, put, put_u32};
use crate::wire::Device;

/// `include/uapi/linux/if_link.h`.
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;

/// A family's number, as the kind of an attribute.
const AF_INET6: u16 = 10;
/// `NLM_F_REQUEST`, `NLM_F_ACK`.
const REQUEST: u16 = 1 | 4;

/// How often the port's state is looked at while spanning tree listens.
const GLANCE: Duration = Duration::from_millis(50);

/// Timers of a busy host come late.
const GRACE: Duration = Duration::from_secs(2);

/// Makes the tap a port of the shadow's bridge, with this MAC and the settings of the VM's port, and switches it on.
pub(super) fn into_bridge(name: &str, mac: Mac, shadow: &Shadow) -> io::Result<Device> {
    let index = nix::net::if_::if_nametoindex(name)?;
    let kernel = Kernel::open()?;
    // The host itself is to have no address there. Refused where IPv6 is off, which does as well.
    let _ = kernel.set(index, false, |request| {
        let mut mode = Vec::new();
        put(&mut mode, IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
        let mut family = Vec::new();
        put(&mut family, AF_INET6, &mode);
        put(request, libc::IFLA_AF_SPEC, &family);
    });
    kernel.set(index, false, |request| {
        put(request, libc::IFLA_ADDRESS, &mac.0);
        put_u32(request, libc::IFLA_MTU, shadow.mtu);
    })?;
    kernel.set(index, false, |request| put_u32(request, libc::IFLA_MASTER, shadow.bridge.index.0))?;
    // Up last: it forwards nothing before it is isolated where the VM's port is.
    kernel.set(index, true, |request| {
        let mut info = Vec::new();
        put(&mut info, IFLA_INFO_SLAVE_KIND, b"bridge\0");
        put(&mut info, IFLA_INFO_SLAVE_DATA, &settings(&shadow.port));
        put(request, libc::IFLA_LINKINFO, &info);
    })?;
    Ok(Device { index: IfIndex(index), name: IfName::from(name) })
}

/// The port's switches as `IFLA_BRPORT_*`.
fn settings(port: &BridgePort) -> Vec<u8> {
    let mut data = Vec::new();
    for (kind, on) in [
        (brport::LEARNING, port.learning),
        (brport::UNICAST_FLOOD, port.unicast_flood),
        (brport::MULTICAST_FLOOD, port.multicast_flood),
        (brport::BROADCAST_FLOOD, port.broadcast_flood),
    ] {
        put(&mut data, kind, &[u8::from(on)]);
    }
    // Off is how a port begins, and kernels that are older than a switch refuse it.
    for (kind, on) in [
        (brport::HAIRPIN, port.hairpin),
        (brport::NEIGH_SUPPRESS, port.neigh_suppress),
        (brport::ISOLATED, port.isolated),
    ] {
        if on {
            put(&mut data, kind, &[1]);
        }
    }
    data
}

/// Waits until the port forwards, which spanning tree puts off by `listens`.
pub(super) async fn forwards(index: IfIndex, listens: Duration) -> Result<(), Unplugged> {
    let deadline = Instant::now() + listens + GRACE;
    loop {
        let port = port_of(index).await.map_err(|error| Unplugged::Gone(io::Error::other(error)))?;
        let state = port.map(|port| port.state);
        let word = match state {
            Some(PortState::Forwarding) => return Ok(()),
            Some(PortState::Listening) => "listening",
            Some(PortState::Learning) => "learning",
            Some(PortState::Blocking) => "blocked",
            Some(PortState::Disabled | PortState::Unknown(_)) => "off",
            None => "out of the bridge",
        };
        if Instant::now() > deadline {
            return Err(Unplugged::NotForwarding(word));
        }
        sleep(GLANCE).await;
    }
}

/// Who takes changes.
struct Kernel(Blocking);

impl Kernel {
    fn open() -> io::Result<Self> {
        let mut socket = Blocking::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Sets attributes of a device, and switches it on with `up`.
    fn set(&self, index: u32, up: bool, attributes: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        // `struct nlmsghdr`, then `struct ifinfomsg`: family, padding, type, index, flags, mask of flags.
        let on = if up { libc::IFF_UP.cast_unsigned() } else { 0 };
        let mut request = [&[0; 4][..], &libc::RTM_NEWLINK.to_ne_bytes(), &REQUEST.to_ne_bytes()].concat();
        for word in [1, 0, 0, index, on, on] {
            request.extend(word.to_ne_bytes());
        }
        attributes(&mut request);
        let length = u32::try_from(request.len()).expect("our own requests are short");
        request[..4].copy_from_slice(&length.to_ne_bytes());
        self.0.send(&request, 0)?;
        let (answer, _) = self.0.recv_from_full()?;
        // NLMSG_ERROR: the header, and a negative error number or 0.
        let number = answer.get(16..20).and_then(|bytes| bytes.first_chunk());
        match number.map(|bytes| i32::from_ne_bytes(*bytes)) {
            Some(0) => Ok(()),
            Some(error) => Err(io::Error::from_raw_os_error(-error)),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
