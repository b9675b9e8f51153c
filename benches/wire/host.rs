//! A private host with 1,000 endpoints on 20 bridges, and an internet behind it.
//!
//! ```text
//!   endpoint 0 … 49        50 … 99      …      950 … 999      one network namespace each
//!       │                    │                    │
//!   bridge0 10.77.0.1    bridge1 10.77.1.1  …  bridge19 10.77.19.1
//!       │                    │                    │
//!   wan0 203.0.113.2 ── masquerades ── 203.0.113.1, 198.51.100.10   internet
//! ```
//!
//! Nobody asks for MACs by ARP: all namespaces of a machine share one neighbour table, of 1,024 entries by default,
//! of which permanent ones are not counted. A benchmark must not use up what others need.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, ensure};
use kvmnet_probes::facts::{IfIndex, IfName, Mac};
use kvmnet_probes::wire::{Attempt, Device, EchoForm, NextHopMac, Probe, Sender};
use nix::sched::{CloneFlags, unshare};

pub(crate) const BRIDGES: u8 = 20;
pub(crate) const ENDPOINTS: u8 = 50;
const INTERNET: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);

/// What an endpoint is, and what it hangs on.
struct Endpoint {
    tap: Device,
    bridge: Device,
    number: (u8, u8),
}

/// The host, in whose namespace the thread that built it is. The others end with their descriptors.
pub(crate) struct Host {
    endpoints: Vec<Endpoint>,
    uplink: Device,
    _namespaces: Vec<File>,
}

impl Host {
    /// Leaves the machine's network behind and builds the host.
    pub(crate) fn build() -> anyhow::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("a network namespace of its own needs root")?;
        only_ipv4()?;
        let mut bridges = String::from("link set lo up\n");
        for bridge in 0..BRIDGES {
            let mac = bridge_mac(bridge);
            writeln!(bridges, "link add bridge{bridge} address {mac} type bridge")?;
            writeln!(bridges, "address add {} dev bridge{bridge}", with_prefix(gateway(bridge)))?;
            writeln!(bridges, "link set bridge{bridge} up")?;
        }
        feed("ip", &["-batch", "-"], &bridges)?;
        let internet = format!(
            "link set lo up
             link add wan1 type veth peer name wan0 netns {pid}
             address add 203.0.113.1/24 dev wan1
             address add {INTERNET}/32 dev lo
             link set wan1 up\n",
            pid = std::process::id()
        );
        let internet = thread::spawn(move || namespace(&internet)).join();
        let internet =
            internet.map_err(|_| anyhow::anyhow!("the thread that builds the internet panicked"))?;
        let mut namespaces = vec![internet?];
        // The kernel makes each wait for what happens on other processors: side by side it takes a fraction.
        let builders: Vec<_> = (0..BRIDGES)
            .map(|bridge| {
                thread::spawn(move || {
                    (0..ENDPOINTS).map(|place| namespace(&endpoint((bridge, place)))).collect()
                })
            })
            .collect();
        for builder in builders {
            let built: anyhow::Result<Vec<File>> =
                builder.join().map_err(|_| anyhow::anyhow!("a thread that builds namespaces panicked"))?;
            namespaces.extend(built?);
        }
        let mut cables = String::from(
            "address add 203.0.113.2/24 dev wan0\nlink set wan0 up\nroute add default via 203.0.113.1\n",
        );
        for (bridge, place) in numbers() {
            let (mac, address) = (mac((bridge, place)), address((bridge, place)));
            writeln!(cables, "link set {} master bridge{bridge} up", tap((bridge, place)))?;
            writeln!(cables, "neighbour add {address} lladdr {mac} dev bridge{bridge}")?;
        }
        feed("ip", &["-batch", "-"], &cables)?;
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot let the host forward")?;
        feed("nft", &["-f", "-"], &rules()?)?;
        let endpoints = numbers().map(|number| {
            Ok(Endpoint {
                tap: device(&tap(number))?,
                bridge: device(&format!("bridge{}", number.0))?,
                number,
            })
        });
        let endpoints = endpoints.collect::<anyhow::Result<_>>()?;
        Ok(Self { endpoints, uplink: device("wan0")?, _namespaces: namespaces })
    }

    /// The addresses of all endpoints.
    pub(crate) fn addresses(&self) -> Vec<Ipv4Addr> {
        self.endpoints.iter().map(|endpoint| address(endpoint.number)).collect()
    }

    /// From the host to every endpoint, and from every endpoint to its gateway and the internet, as the doctor plans
    /// it.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        let each = self.endpoints.iter().map(|endpoint| self.attempts_for(endpoint));
        each.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    fn attempts_for(&self, endpoint: &Endpoint) -> [Attempt; 3] {
        let Endpoint { tap, bridge, number } = endpoint;
        let gateway = gateway(number.0);
        let vm = || Sender::AsVm {
            tap: tap.clone(),
            xdp: None,
            mac: mac(*number),
            address: Some(address(*number).into()),
            vlan: None,
            instead: Err("the frames enter at the taps".to_owned()),
        };
        let host = Sender::AsHost {
            device: bridge.clone(),
            mac: bridge_mac(number.0),
            address: Some(gateway.into()),
        };
        let echo = |target: Ipv4Addr, via| Probe::Echo {
            target: IpAddr::V4(target),
            via: NextHopMac::Known(via),
            form: EchoForm::Plain,
        };
        let by_bridge = bridge_mac(number.0);
        let attempt =
            |sender, probe, watch, arrival| Attempt { sender, probe, watch, arrival, wants_answer: true };
        [
            attempt(host, echo(address(*number), mac(*number)), vec![tap.clone()], Some(tap.clone())),
            attempt(vm(), echo(gateway, by_bridge), vec![bridge.clone()], None),
            attempt(
                vm(),
                echo(INTERNET, by_bridge),
                vec![bridge.clone(), self.uplink.clone()],
                Some(self.uplink.clone()),
            ),
        ]
    }
}

fn numbers() -> impl Iterator<Item = (u8, u8)> {
    (0..BRIDGES).flat_map(|bridge| (0..ENDPOINTS).map(move |place| (bridge, place)))
}

fn tap((bridge, place): (u8, u8)) -> String {
    format!("tap{bridge}-{place}")
}

fn mac((bridge, place): (u8, u8)) -> Mac {
    Mac([0x52, 0x54, 0, 1, bridge, place])
}

fn bridge_mac(bridge: u8) -> Mac {
    Mac([0x52, 0x54, 0, 2, bridge, 0])
}

fn gateway(bridge: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, bridge, 1)
}

fn with_prefix(address: Ipv4Addr) -> String {
    format!("{address}/24")
}

fn address((bridge, place): (u8, u8)) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, bridge, 100 + place)
}

/// How an endpoint sets itself up.
fn endpoint(number: (u8, u8)) -> String {
    let (mac, router) = (mac(number), gateway(number.0));
    format!(
        "link set lo up
         link add eth0 address {mac} type veth peer name {tap} netns {pid}
         address add {address} dev eth0
         link set eth0 up
         neighbour add {router} lladdr {router_mac} dev eth0
         route add default via {router}\n",
        tap = tap(number),
        pid = std::process::id(),
        address = with_prefix(address(number)),
        router_mac = bridge_mac(number.0),
    )
}

/// What libvirt's nftables backend loads for such networks, as far as it is about what is sent here.
fn rules() -> anyhow::Result<String> {
    let (mut output, mut input, mut nat) = (String::new(), String::new(), String::new());
    for bridge in 0..BRIDGES {
        let net = format!("10.77.{bridge}.0/24");
        writeln!(
            output,
            "ip saddr {net} iif bridge{bridge} counter accept; iif bridge{bridge} counter reject"
        )?;
        writeln!(input, "oif bridge{bridge} ip daddr {net} ct state related,established counter accept")?;
        writeln!(input, "oif bridge{bridge} counter reject")?;
        writeln!(nat, "ip saddr {net} ip daddr != {net} counter masquerade")?;
    }
    Ok(format!(
        "table ip libvirt_network {{
           chain guest_output {{ {output} }}
           chain guest_input {{ {input} }}
           chain forward {{
             type filter hook forward priority filter; policy accept;
             jump guest_input; jump guest_output
           }}
           chain guest_nat {{ type nat hook postrouting priority srcnat; policy accept; {nat} }}
         }}\n"
    ))
}

/// A new network namespace, in which the thread stays, and in which `script` was run by `ip -batch`.
fn namespace(script: &str) -> anyhow::Result<File> {
    unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
    only_ipv4()?;
    feed("ip", &["-batch", "-"], script)?;
    File::open("/proc/thread-self/ns/net").context("cannot open /proc/thread-self/ns/net")
}

/// Switches IPv6 off in the thread's namespace: a thousand endpoints that make themselves known at once would
/// be measured too.
fn only_ipv4() -> anyhow::Result<()> {
    for conf in ["all", "default"] {
        let name = format!("/proc/sys/net/ipv6/conf/{conf}/disable_ipv6");
        fs::write(&name, "1").with_context(|| format!("cannot write {name}"))?;
    }
    // As on a host where nothing has loaded br_netfilter.
    let name = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if fs::exists(name)? {
        fs::write(name, "0").with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

fn device(name: &str) -> anyhow::Result<Device> {
    let index = nix::net::if_::if_nametoindex(name).with_context(|| format!("no device {name}"))?;
    Ok(Device { index: IfIndex(index), name: IfName::from(name) })
}

/// Runs a program with `script` as its standard input.
fn feed(program: &str, arguments: &[&str], script: &str) -> anyhow::Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    child.stdin.take().context("no pipe")?.write_all(script.as_bytes())?;
    ensure!(child.wait()?.success(), "{program} refused its input");
    Ok(())
}
