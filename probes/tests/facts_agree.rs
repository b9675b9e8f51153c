//! The facts of a private network namespace against `ip` and `bridge`, item by item.
//!
//! Needs root. Skipped without it, unless `KVMNET_LAB=require`.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod agree;

use std::process::Command;

use kvmnet_probes::facts::{Snapshot, Sysctls};
use kvmnet_probes::sources::{Context, observe};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use serde_json::Value;

/// Runs `test` on a thread that has a network of its own, which its `/sys` shows.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn on_private_host(test: impl FnOnce() + Send + 'static) {
    if !geteuid().is_root() {
        assert_ne!(std::env::var("KVMNET_LAB").as_deref(), Ok("require"), "this test needs root");
        println!("skipped: needs root");
        return;
    }
    let host = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        run("mount --make-rprivate /");
        run("mount -t sysfs sysfs /sys");
        // No link-local addresses, which come with timers and group memberships.
        run("sysctl -qw net.ipv6.conf.default.addr_gen_mode=1 net.ipv6.conf.default.accept_dad=0");
        run("ip link set lo up");
        test();
    });
    if let Err(panic) = host.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a command, or several on a line each, on the calling thread's host.
fn run(commands: &str) {
    for command in commands.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let output = words(command).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A command's words; a no-break space is a space within a word.
fn words(command: &str) -> Command {
    let mut words =
        command.split(' ').filter(|word| !word.is_empty()).map(|word| word.replace('\u{a0}', " "));
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command
}

/// What a tool prints as JSON on the calling thread's host.
fn tool(command: &[&str]) -> Value {
    let output = Command::new(command[0]).args(&command[1..]).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    if output.stdout.is_empty() { Value::Null } else { serde_json::from_slice(&output.stdout).unwrap() }
}

fn snapshot() -> Snapshot {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(observe(&Context { root: "/nonexistent".into(), ..Context::default() }))
}

/// Waits until a bridge's port forwards, which follows its carrier by a kernel worker.
fn wait_for_forwarding(port: &str) {
    while tool(&["ip", "-j", "-d", "link", "show", port])[0]["linkinfo"]["info_slave_data"]["state"]
        != "forwarding"
    {
        std::thread::yield_now();
    }
}

#[test]
fn the_facts_agree_with_iproute2() {
    on_private_host(|| {
        // br0 with a tap and one end of a veth; v1, the other end; v2-v3 with IPv6; macvtap on v3.
        run("ip link add br0 type bridge stp_state 0 forward_delay 0 ageing_time 12300 group_fwd_mask 8 nf_call_iptables 1
             ip link add v0 type veth peer name v1
             ip link add v2 type veth peer name v3
             ip link set v0 mtu 1400 group 7
             ip link set v0 promisc on
             ip link property add dev v0 altname uplink-of-br0
             ip tuntap add tap0 mode tap multi_queue vnet_hdr
             ip tuntap add tun0 mode tun user root
             ip link add mv0 link v3 type macvtap mode vepa
             ip link add vx0 type vxlan id 42 dstport 4789 remote 192.0.2.9 dev v1
             ip link set v0 master br0
             ip link set tap0 master br0
             ip link set v0 type bridge_slave isolated on hairpin on guard on learning off flood off mcast_flood off bcast_flood off neigh_suppress on
             ip link set br0 up
             ip link set v0 up
             ip link set v1 up
             ip link set v2 up
             ip link set v3 up");
        wait_for_forwarding("v0");
        run("ip addr add 10.0.0.1/24 dev br0
             ip addr add 10.0.0.5/24 dev br0
             ip addr add 10.1.0.1 peer 10.1.0.2/32 dev v1
             ip addr add 2001:db8::1/64 dev v2 noprefixroute
             ip addr add 169.254.1.1/16 dev v2 scope link
             ip -6 route add 2001:db8::/64 dev v2 metric 77
             ip -6 route add default via 2001:db8::fe dev v2
             ip -6 route add 2001:db8:8::/48 nexthop via 2001:db8::2 dev v2 weight 2 nexthop via 2001:db8::3 dev v2
             ip -6 route add unreachable 2001:db8:9::/48
             ip -6 route add 2001:db8:a::/48 from 2001:db8:b::/48 dev v2
             ip route add default via 10.0.0.254 dev br0 metric 100 src 10.0.0.5
             ip route add 10.9.0.0/16 nexthop via 10.0.0.2 weight 3 nexthop via 10.0.0.3
             ip route add blackhole 10.8.0.0/16 table 1000
             ip route add prohibit 10.8.1.0/24 table 1000
             ip route add throw 10.8.2.0/24 table 100
             ip route add 10.7.0.0/16 tos 0x10 via 10.0.0.9 dev br0 onlink mtu 1300
             ip route add 10.6.0.0/16 via inet6 2001:db8::1234 dev v2
             ip nexthop add id 7 via 10.0.0.7 dev br0
             ip nexthop add id 8 via 10.0.0.8 dev br0
             ip nexthop add id 9 group 7,3/8
             ip route add 10.5.0.0/16 nhid 9
             ip rule add fwmark 0x1/0xff table 100 priority 10
             ip rule add fwmark 5 iif br0 table 1000 priority 11
             ip rule add not from 10.0.0.0/24 to 10.9.0.0/16 oif v1 blackhole priority 12
             ip rule add ipproto tcp sport 1000-2000 dport 443 uidrange 0-99 prohibit priority 13
             ip rule add table main suppress_prefixlength 0 priority 14
             ip rule add tos 0x10 goto 32766 priority 15
             ip -6 rule add from 2001:db8::/32 unreachable priority 16
             ip neigh add 10.0.0.2 lladdr 52:54:00:00:00:02 dev br0
             ip neigh add 2001:db8::2 lladdr 52:54:00:00:00:03 dev v2
             ip neigh add proxy 10.0.0.77 dev br0
             ip neigh add proxy 2001:db8::77 dev v2
             bridge fdb add 52:54:00:00:00:09 dev v0 master static
             bridge fdb add 52:54:00:00:00:0a dev v0 master static sticky
             bridge fdb add 52:54:00:00:00:0b dev v0 master extern_learn
             bridge mdb add dev br0 port v0 grp 239.1.1.1 permanent
             bridge mdb add dev br0 port v0 grp ff05::1 temp");
        let differences = agree::differences(&snapshot(), &tool);
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    });
}

#[test]
fn the_sysctls_are_those_of_the_files_of_the_namespace() {
    on_private_host(|| {
        run("ip link add dot.ted type veth peer name v1
             sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=2 net.ipv6.conf.v1.disable_ipv6=1");
        let first = snapshot().sysctls;
        let names = first.known().unwrap().0.keys();
        // One after the other changes: a value that is read from another's place is found out.
        // `mc_forwarding` is read-only.
        for changed in names.filter(|name| name.contains("/dot.ted/") && !name.contains("/mc_")) {
            let path = format!("/proc/sys/{changed}");
            let value = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, if value.trim() == "0" { "1" } else { "0" }).unwrap();
            let sysctls = snapshot().sysctls;
            for (name, value) in &sysctls.known().unwrap().0 {
                let file = std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap();
                assert_eq!(file.trim(), value, "{name} after {changed} was changed");
            }
        }
        let sysctls: &Sysctls = first.known().unwrap();
        assert_eq!(sysctls.number("net/ipv4/ip_forward"), Some(1));
        assert_eq!(sysctls.per_device(false, "all", "rp_filter"), Some(2));
        assert_eq!(sysctls.per_device(true, "v1", "disable_ipv6"), Some(1));
        let devices = sysctls.0.keys().filter(|name| name.contains("/dot.ted/")).count();
        let others = sysctls.0.keys().filter(|name| name.contains("/default/")).count();
        assert_eq!(devices, others, "a device has the sysctls that `default` has");
    });
}

#[test]
fn routes_of_nexthop_objects_alone_have_their_next_hops() {
    on_private_host(|| {
        // Without compatibility the kernel names the object only.
        run("ip link add v0 type veth peer name v1
             ip link set v0 up
             ip link set v1 up
             ip addr add 10.0.0.1/24 dev v0
             sysctl -qw net.ipv4.nexthop_compat_mode=0
             ip nexthop add id 1 via 10.0.0.2 dev v0
             ip nexthop add id 2 via 10.0.0.3 dev v0
             ip nexthop add id 3 group 1/2,5
             ip nexthop add id 4 blackhole
             ip route add 10.1.0.0/16 nhid 1
             ip route add 10.2.0.0/16 nhid 3
             ip route add 10.3.0.0/16 nhid 4");
        let snapshot = snapshot();
        let hops = |destination: &str| {
            let destination = destination.parse().unwrap();
            let route =
                snapshot.routes.items().iter().find(|route| route.destination == destination).unwrap();
            let hops = route.next_hops.iter().map(|hop| (hop.gateway.unwrap().to_string(), hop.weight));
            (format!("{:?}", route.kind), hops.collect::<Vec<_>>())
        };
        assert_eq!(hops("10.1.0.0/16"), ("Unicast".into(), vec![("10.0.0.2".into(), 1)]));
        let group = vec![("10.0.0.2".into(), 1), ("10.0.0.3".into(), 5)];
        assert_eq!(hops("10.2.0.0/16"), ("Unicast".into(), group));
        assert_eq!(hops("10.3.0.0/16"), ("Blackhole".into(), vec![]));
    });
}

#[test]
fn a_bridges_mac_is_fixed_once_it_is_set() {
    on_private_host(|| {
        run("ip link add br0 type bridge
             ip link add br1 address 52:54:00:00:00:01 type bridge");
        let snapshot = snapshot();
        let fixed = |name: &str| {
            snapshot.links.items().iter().find(|link| link.name.as_str() == name).unwrap().mac_fixed
        };
        assert_eq!([fixed("br0"), fixed("br1"), fixed("lo")], [Some(false), Some(true), None]);
    });
}

#[test]
fn tc_hooks_are_found_where_they_can_take_packets() {
    on_private_host(|| {
        run("ip link add v0 type veth peer name v1
             ip link set v0 up
             tc qdisc add dev v0 root handle 1: tbf rate 1mbit burst 10k latency 1ms
             tc qdisc add dev v0 clsact
             tc qdisc add dev v1 ingress
             tc filter add dev v0 ingress protocol ip pref 1 u32 match ip dst 10.0.0.1/32 classid 1:1
             tc filter add dev v0 egress protocol all pref 2 u32 match u32 0 0 action mirred egress redirect dev v1
             tc filter add dev v1 ingress bpf bytecode 1,6\u{a0}0\u{a0}0\u{a0}0");
        let snapshot = snapshot();
        let links = snapshot.links.items();
        let name = |index| links.iter().find(|link| link.index == index).unwrap().name.as_str();
        let mut hooks: Vec<_> = snapshot
            .traffic_control
            .items()
            .iter()
            .map(|hook| {
                let detail = hook.detail.as_deref().unwrap_or("-");
                format!("{} {} {} {detail}", name(hook.device), hook.parent, hook.kind)
            })
            .collect();
        hooks.sort();
        let v1 = links.iter().find(|link| link.name.as_str() == "v1").unwrap().index;
        assert_eq!(
            hooks,
            [
                format!("v0 egress u32 mirred egress redirect to device {v1}"),
                "v0 ingress u32 -".to_owned(),
                "v0 root tbf -".to_owned(),
                "v1 ingress bpf -".to_owned(),
            ]
        );
    });
}
