//! One packet on the wire beside what the facts say of it: `kvmnet trace --live`.

use kvmnet_reports::{Cell, CellVerdict, Expected, Observed, Report, Severity, ZoneKind};
use serde_json::Value;

use crate::host::{Backend, Host, INTERNET};
use crate::shared_host::{assert_healthy, on_shared_host};

/// The exit code and the trace.
#[track_caller]
fn trace(host: &Host, arguments: &str) -> (Option<i32>, Value) {
    let words: Vec<&str> = "trace --live --format json".split(' ').chain(arguments.split(' ')).collect();
    let ran = host.kvmnet(&words);
    let trace = serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|error| panic!("{arguments}: no trace ({error}): {}{}", ran.stdout, ran.stderr));
    (ran.code, trace)
}

/// `eth0 out 203.0.113.2` for each place where the packet itself was seen.
fn seen(trace: &Value) -> Vec<String> {
    let sightings = trace["wire"]["sightings"].as_array().expect("sightings");
    let way = |sighting: &Value| if sighting["outgoing"] == true { "out" } else { "in" };
    let words = |value: &Value| value.as_str().expect("a word").to_owned();
    sightings
        .iter()
        .filter(|sighting| sighting["answer"] == false)
        .map(|at| format!("{} {} {}", words(&at["device"]), way(at), words(&at["source"])))
        .collect()
}

#[test]
fn a_packet_is_seen_where_the_facts_say() {
    on_shared_host(Backend::Nftables, |host| {
        let (code, passes) = trace(host, &format!("--from vm:web1 --to {INTERNET}"));
        assert_eq!((code, &passes["predicted"]), (Some(0), &"allow".into()), "{passes:#}");
        assert_eq!(passes["wire"]["observed"], "reply", "{passes:#}");
        let way = seen(&passes);
        assert!(way.iter().any(|at| at.starts_with("virbr0 in 192.168.122.")), "{way:?}");
        assert!(
            way.contains(&"eth0 out 203.0.113.2".to_owned()),
            "the uplink's address is its source: {way:?}"
        );

        let (code, refused) = trace(host, &format!("--from vm:db1 --to {INTERNET} --proto tcp --dport 443"));
        assert_eq!((code, &refused["predicted"]), (Some(1), &"deny".into()), "{refused:#}");
        let end = refused["wire"]["end"].as_str().expect("an end");
        assert!(end.starts_with("refused by 192.168.150.1"), "{end}");
        assert_eq!(refused["wire"]["contradicts"], false);

        host.sh("nft add table ip live; nft add chain ip live forward '{ type filter hook forward priority -5; }'; \
                 nft add rule ip live forward iifname virbr0 drop");
        let (code, lost) = trace(host, &format!("--from vm:web1 --to {INTERNET}"));
        assert_eq!((code, &lost["predicted"]), (Some(1), &"deny".into()), "{lost:#}");
        assert_eq!(
            (&lost["wire"]["observed"], &lost["wire"]["contradicts"]),
            (&"no-reply".into(), &false.into())
        );
        assert!(seen(&lost).iter().all(|at| !at.starts_with("eth0")), "it leaves all the same: {lost:#}");
        let said = host.kvmnet(&["trace", "--live", "--from", "vm:web1", "--to", INTERNET]).stdout;
        assert!(said.contains("no answer, as the facts say"), "{said}");
        host.sh("nft delete table ip live");
        assert_healthy(host);
    });
}

/// What the doctor says of a host on which a program at web1's tap drops what the guest sends.
#[track_caller]
fn assert_program_named(host: &Host, program: &str) {
    let (code, report) = host.doctor(&[]);
    let ids: Vec<_> = report.findings.iter().map(|finding| finding.id.as_str()).collect();
    assert_eq!((code, &ids[..]), (1, &["opaque-drop"][..]), "{:#?}", report.findings);
    let finding = &report.findings[0];
    assert!(finding.cause.contains(program), "{finding:#?}");
    assert!(finding.subjects.contains(&"vm:web1".to_owned()), "{finding:#?}");
    for cell in &report.matrix {
        let sent_by_web1 = cell.from.vm.as_deref() == Some("web1");
        let wanted = cell.expected == Expected::Allow;
        if sent_by_web1 && wanted {
            assert_eq!(cell.verdict, CellVerdict::Gap, "{cell:?}");
        }
    }
    assert!(!host.guest_reaches("web1", INTERNET), "the guest itself is cut off");
}

/// An XDP program in the tap's driver: what is sent as the guest passes it, as what the guest sends does.
#[test]
fn the_drivers_program_decides_about_what_is_sent_as_the_guest() {
    on_shared_host(Backend::Nftables, |host| {
        let tap = host.sh("virsh domiflist web1 | awk '/network/ { print $1 }'");
        let tap = tap.trim();
        host.write("/run/lab/drop.o", &crate::bpf_object::xdp_drop());
        for mode in ["xdpdrv", "xdpgeneric"] {
            host.sh(&format!("ip link set {tap} {mode} object /run/lab/drop.o section xdp"));
            assert_program_named(host, "XDP program");
            host.sh(&format!("ip link set {tap} {mode} off"));
        }
        assert_healthy(host);
    });
}

/// A filter that the facts cannot show: a program at the tap's ingress. What it does is not known, and the wire
/// tells.
#[test]
fn the_wire_decides_where_a_program_may() {
    on_shared_host(Backend::Nftables, |host| {
        let tap = host.sh("virsh domiflist web1 | awk '/network/ { print $1 }'");
        let tap = tap.trim();
        host.sh(&format!(
            "tc qdisc add dev {tap} clsact && \
             tc filter add dev {tap} ingress bpf da bytecode '1,6 0 0 2,'"
        ));
        assert_program_named(host, "tc bpf");
        let (code, trace) = trace(host, &format!("--from vm:web1 --to {INTERNET}"));
        assert_eq!((code, &trace["predicted"]), (Some(1), &"unknown".into()), "{trace:#}");
        assert_eq!(trace["wire"]["observed"], "no-reply", "{trace:#}");
        assert_eq!(seen(&trace), [format!("{tap} in {}", source(&trace))], "it gets no further: {trace:#}");
        host.sh(&format!("tc qdisc del dev {tap} clsact"));
        assert_healthy(host);
    });
}

fn source(trace: &Value) -> String {
    trace["wire"]["sightings"][0]["source"].as_str().expect("a source").to_owned()
}

/// How many echo requests and connections have come out of the host on the far side.
#[track_caller]
fn came_out(host: &Host) -> u64 {
    let text = host.inet("nft -j list table inet came_out");
    let tables: Value = serde_json::from_str(&text).expect("nft prints JSON");
    let rules = tables["nftables"].as_array().expect("a list").iter().filter_map(|object| object.get("rule"));
    let exprs = rules.flat_map(|rule| rule["expr"].as_array().expect("expressions"));
    exprs.filter_map(|expr| expr["counter"]["packets"].as_u64()).sum()
}

#[test]
fn nothing_leaves_that_may_not() {
    on_shared_host(Backend::Nftables, |host| {
        host.inet(
            "nft add table inet came_out && \
             nft \"add chain inet came_out in { type filter hook prerouting priority -300; }\" && \
             nft add rule inet came_out in icmp type echo-request counter && \
             nft \"add rule inet came_out in tcp flags & syn == syn counter\"",
        );
        let (code, report) = host.doctor(&["--local-only"]);
        assert_eq!((code, came_out(host)), (0, 0), "{:#?}", report.summary);
        let tried = |cell: &&Cell| cell.observed != Observed::NotTried;
        for cell in report.matrix.iter().filter(tried) {
            let outside = [ZoneKind::Internet, ZoneKind::Outside];
            assert!(!outside.contains(&cell.to.zone) && !outside.contains(&cell.from.zone), "{cell:?}");
        }
        let count = report.matrix.iter().filter(tried).count();
        assert!(count > 10, "what stays on the host is tried: {count} of {:#?}", report.matrix);

        let ran = host.kvmnet(&["doctor", "--dry-run", "--format", "json", "--internet-target", INTERNET]);
        let listed: Value = serde_json::from_str(&ran.stdout).expect("the list is JSON");
        assert_eq!((ran.code, came_out(host)), (Some(0), 0), "{listed:#}");
        let attempts = listed["attempts"].as_array().expect("attempts");
        let is_wanted = |attempt: &&Value| attempt["sender"] == "vm" && attempt["to"] == INTERNET;
        assert!(
            attempts.iter().any(|attempt| is_wanted(&attempt) && attempt["what"] == "icmp"),
            "{listed:#}"
        );

        let (code, _) = host.doctor(&[]);
        assert_eq!(code, 0);
        assert!(came_out(host) > 0, "without them it does leave");
        host.inet("nft delete table inet came_out");
    });
}

/// What the doctor says of a target: the exit code, and the one finding's id and cause.
#[track_caller]
fn told(host: &Host, target: &str) -> (Option<i32>, String, String) {
    let ran = host.kvmnet(&["doctor", "--format", "json", "--internet-target", target]);
    let report: Report = serde_json::from_str(&ran.stdout).expect("the report is JSON");
    assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
    let finding = &report.findings[0];
    let evidence =
        finding.evidence.iter().map(|evidence| evidence.text.as_str()).collect::<Vec<_>>().join("; ");
    (ran.code, finding.id.clone(), format!("{} {evidence}", finding.cause))
}

/// Nobody is answered by the target. The router before it tells whether the VMs' way there and back works.
#[test]
fn a_silent_target_is_told_from_a_silent_way() {
    on_shared_host(Backend::Nftables, |host| {
        host.inet(
            "ip link add void type bridge && ip link set void up && ip route add 192.0.2.200 dev void && \
             nft add table ip f && \
             nft \"add chain ip f path { type filter hook forward priority 0; policy drop; }\"",
        );
        let (code, id, why) = told(host, "192.0.2.200");
        assert_eq!((code, id.as_str()), (Some(3), "upstream-silent"), "{why}");
        assert!(why.contains("The router 203.0.113.1 answers the VMs' packets"), "{why}");
        assert!(why.contains("expiring behind the host: answered by the router 203.0.113.1"), "{why}");

        host.sh("nft 'add table ip usernat; add chain ip usernat post { type nat hook postrouting priority 90; }; \
                 add rule ip usernat post oifname eth0 ip saddr 192.168.122.0/24 snat to 203.0.113.77'");
        let (code, id, why) = told(host, "192.0.2.200");
        assert_eq!((code, id.as_str()), (Some(1), "no-way-back"), "{why}");
        assert!(why.contains("the host itself is answered by the router 203.0.113.1"), "{why}");

        host.sh("nft delete table ip usernat");
        host.inet("nft delete table ip f && ip link del void");
        assert_healthy(host);
    });
}

/// A bridge whose card carries less than the guests send drops their large packets and says nothing.
#[test]
fn large_packets_that_do_not_fit_the_lans_card_are_missed() {
    on_shared_host(Backend::Nftables, |host| {
        // By it the host knows the LAN's router.
        host.sh("ip route replace default via 10.20.0.1");
        let (_, report) = host.doctor(&["--vm", "lan1"]);
        let full = |report: &Report| report.matrix.iter().position(|cell| cell.traffic == "icmp-full-size");
        let fits = full(&report).expect("full-size packets are tried");
        assert_eq!(report.matrix[fits].observed, Observed::Reply, "{:#?}", report.findings);

        host.sh("ip link set eth1 mtu 1400");
        let (code, report) = host.doctor(&["--vm", "lan1"]);
        let lost = full(&report).expect("full-size packets are tried");
        assert_eq!((code, report.matrix[lost].verdict), (1, CellVerdict::Gap), "{:#?}", report.matrix[lost]);
        let finding = &report.findings[0];
        assert_eq!((finding.id.as_str(), finding.severity), ("mtu-differs", Severity::Error), "{finding:#?}");
        assert_eq!(finding.breaks, [lost], "small packets pass: {finding:#?}");

        host.sh("ip link set eth1 mtu 1500; ip route replace default via 203.0.113.1");
        assert_healthy(host);
    });
}
