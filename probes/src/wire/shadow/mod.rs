//! A port of our own in a VM's bridge, for packets that cannot be sent as the VM.
//!
//! A tap is plugged into the bridge with the settings of the VM's port. Behind it is nobody but this process, which
//! has a MAC and an address of its own there and answers for them. The tap hangs on a file descriptor: when that is
//! closed, also because the process is killed, the kernel takes it out of the bridge with all that was learned by it.
//!
//! Invariants: no VM's MAC or address is ever used; the bridge keeps its MAC and MTU; nothing is announced.

mod address;
mod plug;

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ipnet::Ipv6Net;

use super::Device;
use super::answer::RunId;
use crate::facts::{BridgePort, Mac};
use crate::sys::tap::Tap;

/// The beginning of the tap's own MAC. libvirt's taps begin with fe:54:00 by default: this is higher, and a bridge
/// whose MAC nobody set takes the lowest of its ports' (`br_stp_recalculate_bridge_id` in `net/bridge/br_stp_if.c`).
pub const SHADOW_TAP_OUI: [u8; 3] = [0xfe, 0xff, 0xff];

/// The beginning of the MAC behind the tap: QEMU's, as VMs have, so that rules for all of those mean it too.
pub const SHADOW_OUI: [u8; 3] = [0x52, 0x54, 0x00];

/// So many frames are read before somebody else has a turn.
const MOST_AT_ONCE: usize = 64;

/// Longer than any frame that is to be answered.
const BUFFER: usize = 2048;

/// A port that could stand in for a VM's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// The bridge.
    pub bridge: Device,
    /// The bridge's MTU, in bytes: a port with a smaller one would lower it.
    pub mtu: u32,
    /// The settings of the VM's port. Its state and VLANs are not copied.
    pub port: BridgePort,
    /// How long spanning tree keeps a new port from forwarding. Zero where it is off.
    pub listens: Duration,
    /// IPv4 addresses that it may take, the best first: it takes the first that nobody answers for. None where it
    /// must not have any.
    pub addresses: Vec<Ipv4Addr>,
    /// The /64 in which it may take an address.
    pub prefix: Option<Ipv6Net>,
}

impl Shadow {
    /// How many packets leave at most before it has addresses.
    pub fn most_packets(&self) -> usize {
        address::QUESTIONS * (self.addresses.len() + usize::from(self.prefix.is_some()))
    }
}

/// The port that stood in for a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandIn {
    /// The tap.
    pub device: Device,
    /// The bridge in which it was.
    pub bridge: Device,
    /// The address as which it sent, if it had one of the probe's family.
    pub address: Option<IpAddr>,
    /// Why nothing was sent as the VM, in words.
    pub since: String,
}

/// Why there is no such port.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unplugged {
    #[error("opening a tap needs CAP_NET_ADMIN: {0}")]
    Open(std::io::Error),
    #[error("its tap could not be set up: {0}")]
    SetUp(std::io::Error),
    #[error("its tap was still {0} when it should have forwarded")]
    NotForwarding(&'static str),
    #[error("its tap is gone: {0}")]
    Gone(std::io::Error),
}

/// A port that is plugged in.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) shadow: Shadow,
    pub(super) device: Arc<Device>,
    pub(super) mac: Mac,
    pub(super) ipv4: Option<Ipv4Addr>,
    pub(super) ipv6: Option<Ipv6Addr>,
    tap: Tap,
}

impl Port {
    /// Opens the tap and plugs it in. Needs `CAP_NET_ADMIN`; what follows needs nothing.
    pub(super) fn plug(shadow: &Shadow, run: RunId, number: u64) -> Result<Self, Unplugged> {
        let own = run.0.rotate_left(24).wrapping_add(number).to_le_bytes();
        let mac = |[a, b, c]: [u8; 3]| Mac([a, b, c, own[0], own[1], own[2]]);
        let tap = Tap::open(c"kvmnet-%d").map_err(Unplugged::Open)?;
        let device = plug::into_bridge(&tap.name, mac(SHADOW_TAP_OUI), shadow).map_err(Unplugged::SetUp)?;
        let mac = mac(SHADOW_OUI);
        let (shadow, device) = (shadow.clone(), Arc::new(device));
        Ok(Self { shadow, device, mac, ipv4: None, ipv6: None, tap })
    }

    /// Waits until the bridge lets frames through, and finds addresses that nobody holds.
    pub(super) async fn settle(&mut self) -> Result<(), Unplugged> {
        plug::forwards(self.device.index, self.shadow.listens).await?;
        self.take_addresses().await.map_err(Unplugged::Gone)
    }

    /// Its address of one family.
    pub(super) fn address(&self, ipv6: bool) -> Option<IpAddr> {
        if ipv6 { self.ipv6.map(IpAddr::V6) } else { self.ipv4.map(IpAddr::V4) }
    }

    /// Lets a frame enter by it.
    pub(super) fn send(&self, frame: &[u8]) -> std::io::Result<()> {
        self.tap.send(frame)
    }

    /// Answers whoever asks for its MAC, as every guest does. Answers to probes are seen by the watch; here they
    /// are but taken out of the tap's queue.
    fn poll_serve(&self, cx: &mut Context<'_>, buffer: &mut [u8]) {
        for _ in 0..MOST_AT_ONCE {
            match self.tap.poll_receive(cx, buffer) {
                // A tap that is gone has nothing to say any more.
                Poll::Pending | Poll::Ready(Err(_)) => return,
                Poll::Ready(Ok(length)) => {
                    if let Some(answer) = self.answer(&buffer[..length.min(buffer.len())]) {
                        // Whoever asks asks again.
                        let _ = self.send(&answer);
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
    }
}

/// Answers for all ports, for ever.
pub(super) async fn serve(ports: &[Port]) {
    let mut buffer = [0; BUFFER];
    poll_fn(|cx| {
        for port in ports {
            port.poll_serve(cx, &mut buffer);
        }
        Poll::<()>::Pending
    })
    .await;
}
