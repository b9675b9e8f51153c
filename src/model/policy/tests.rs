//! Policies, read and held against the recorded host.

use jiff::civil::date;
use kvmnet_reports::{Expected, Expired, Finding, Fix, Severity};

use super::{Expansion, Malformed, Policy, Unmatched, draft, expand, parse};
use crate::model::{Claim, Protocol, Topology, Zone};
use crate::testing::snapshot;

fn malformed(text: &str) -> Malformed {
    parse(text).expect_err(text)
}

fn expanded(assertions: &str) -> Result<Expansion, Unmatched> {
    let policy = parse(&format!("version: 1\nassertions:\n{assertions}")).expect(assertions);
    let snapshot = snapshot();
    let topology = Topology::from_snapshot(&snapshot);
    let nobody_is_alike: Vec<usize> = (0..topology.nics.len()).collect();
    expand(&policy.assertions, (&snapshot, &topology), &policy.internet, &nobody_is_alike)
}

/// `web1 → db1 icmp`, of IPv4.
fn pairs(expansion: &Expansion) -> Vec<String> {
    let topology = Topology::from_snapshot(&snapshot());
    let zone = |zone: Zone| match zone {
        Zone::Nic(at) => topology.nics[at].vm.clone(),
        Zone::Gateway(_) => "gateway".to_owned(),
        Zone::Host => "host".to_owned(),
        Zone::Internet => "internet".to_owned(),
        Zone::Outside => "outside".to_owned(),
    };
    let ipv4 = expansion.claims.iter().filter(|claim| !claim.ipv6);
    ipv4.map(|claim| format!("{} → {} {}", zone(claim.from), zone(claim.to), claim.traffic_in_words()))
        .collect()
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, line, what) in [
        ("", 1, "empty"),
        ("version: 2\n", 1, "version 1"),
        ("assertions: []\n", 1, "missing field `version`"),
        ("version: 1\nassertion: []\n", 2, "unknown field `assertion`"),
        ("version: 1\nassertions:\n  - to: vm:a\n    deny: [tcp/1, tcp/x]\n", 4, "`tcp/x` is none of"),
        ("version: 1\nassertions:\n  - to: vm:a\n    deny: tcp/9-1\n", 4, "ends before it begins"),
        ("version: 1\nassertions:\n  - to: vm:a\n    deny: [any, icmp]\n", 4, "stands alone"),
        ("version: 1\nassertions:\n  - to: vm:a\n    allow: tcp\n", 4, "shown by a packet"),
        ("version: 1\nassertions:\n  - to: []\n    deny: any\n", 3, "an empty list names nothing"),
        ("version: 1\nassertions:\n  - to: vm:a\n    deny: []\n", 4, "an empty list names nothing"),
        ("version: 1\nassertions:\n  - to: vm:a\n", 3, "either allows or denies"),
        ("version: 1\nassertions:\n  - to: 'vm:'\n    deny: any\n", 3, "names nobody"),
        ("version: 1\nassertions:\n  - to: '!!vm:a'\n    deny: any\n", 3, "says twice"),
        ("version: 1\nnetworks:\n  - {name: lab, mode: closed}\n", 3, "closed"),
        ("version: 1\nforwards:\n  - {to: host, traffic: tcp/22}\n", 3, "forwarded to"),
        ("version: 1\nforwards:\n  - {to: 'vm:a', traffic: any}\n", 3, "name the ports"),
        ("version: 1\naccept:\n  - {finding: a, reason: ' '}\n", 3, "say which"),
        ("version: 1\naccept:\n  - {finding: a, reason: b, until: soon}\n", 3, "is no day"),
        (
            "version: 1\naccept:\n  - {finding: a, on: [host, web1], reason: b}\n",
            3,
            "`web1` is none of vm:NAME",
        ),
        ("version: 1\naccept:\n  - {finding: a, on: 'tag:web', reason: b}\n", 3, "none of vm:NAME"),
        ("version: 1\ninternet: nowhere\n", 2, "invalid IP address"),
        ("version: 1\nversion: 1\n", 2, "duplicate"),
        ("version: 1\nassertions:\n  - to: vm:a\n    deny: [tcp/22, tcp/0]\n", 4, "no port 0"),
        ("version: 1\nassertions:\n  - to: vm:a\n    deny: udp/0-53\n", 4, "no port 0"),
        ("version: 1\nassertions:\n  - from: gateway\n    deny: any\n", 3, "in `to` alone"),
        ("version: 1\nassertions:\n  - from: [host, '!gateway']\n    deny: any\n", 3, "in `to` alone"),
        ("version: 1\nassertions:\n  - from: !vm:a\n    deny: any\n", 3, "quote what begins with `!`"),
        ("version: 1\nassertions:\n  - from: [host,\n      ! vm:a]\n    deny: any\n", 4, "quote what begins"),
        ("version: 1\nassertions:\n  - {from: !vm:a host, deny: any}\n", 3, "a tag: '!vm:a'"),
        ("version: 1\nassertions:\n  - {from: *, deny: any}\n", 3, "quote what begins with `*`"),
        ("version: 1\nassertions:\n  - {from: *a, deny: any}\n", 3, "quote what begins with `*`"),
        ("version: 1\nassertions:\n\t- from: host\n", 3, "with spaces"),
        ("version: 1\nassertions:\n  - {to: {a: b}, deny: any}\n", 3, "a list of words is wanted here"),
        ("version: 1\nassertions:\n  - {to: host, deny: 22}\n", 3, "a list of words is wanted here"),
        ("version: 1\nassertions: {a: b}\n", 2, "a list is wanted here"),
        ("- version\n", 1, "`key: value` is wanted here"),
        ("version: one\n", 1, "a number is wanted here"),
        ("version: 1\n---\nversion: 1\n", 3, "one document"),
        ("version: 1\nassertions: [\n", 2, ""),
        ("{", 1, ""),
    ] {
        let error = malformed(text);
        assert!(error.line.abs_diff(line) <= usize::from(what.is_empty()), "{text:?}: {error}");
        assert!(error.what.contains(what), "{text:?}: {error}");
        assert!(!error.what.contains('\n'), "{error}");
    }
}

#[test]
fn ends_are_found_among_the_hosts_zones() {
    for (assertion, expected) in [
        ("  - {from: 'vm:web*', to: 'vm:db1', deny: any}", &["web1 → db1 icmp", "web2 → db1 icmp"][..]),
        (
            "  - {from: 'network:default', to: gateway, allow: udp/53}",
            &["web1 → gateway udp/53", "web2 → gateway udp/53"],
        ),
        (
            "  - {from: ['vm:*', '!network:default'], to: internet, deny: any}",
            &["db1 → internet icmp", "lan1 → internet icmp"],
        ),
        (
            "  - {to: 'vm:db1', deny: tcp/22}",
            &[
                "lan1 → db1 tcp/22",
                "web1 → db1 tcp/22",
                "web2 → db1 tcp/22",
                "host → db1 tcp/22",
                "outside → db1 tcp/22",
            ],
        ),
        (
            "  - {from: 192.168.150.0/24, to: '!internet', deny: icmp}",
            &["db1 → lan1 icmp", "db1 → web1 icmp", "db1 → web2 icmp", "db1 → host icmp"],
        ),
        ("  - {from: 203.0.113.7, to: host, deny: tcp}", &["outside → host tcp/0"]),
    ] {
        assert_eq!(pairs(&expanded(assertion).unwrap()), expected, "{assertion}");
    }
}

#[test]
fn a_denial_is_of_both_families_and_an_allowance_of_those_that_are_there() {
    let families = |assertion: &str| -> Vec<bool> {
        expanded(assertion).unwrap().claims.iter().map(|claim| claim.ipv6).collect()
    };
    assert_eq!(families("  - {from: 'vm:web1', to: 'vm:web2', deny: any}"), [false, true]);
    assert_eq!(families("  - {from: 'vm:web1', to: 'vm:web2', allow: icmp}"), [false]);
    assert_eq!(families("  - {from: 'vm:web1', to: '2001:db8::/32', deny: any}"), [true]);
}

#[test]
fn who_is_not_there_is_a_mistake() {
    for (assertion, what) in [
        ("  - {from: 'vm:web7', to: internet, deny: any}", "no VM with a NIC that is called `web7`"),
        ("  - {from: 'network:x', to: internet, deny: any}", "no network `x`"),
        ("  - {from: 192.168.122.77, to: internet, deny: any}", "no VM is known to have"),
        ("  - {from: host, to: internet, deny: any}", "no packet goes between these"),
        ("  - {from: 'vm:web1', to: 'vm:web1', deny: any}", "no packet goes between these"),
    ] {
        let error = expanded(assertion).unwrap_err();
        assert!(error.what.contains(what) && error.line == 3, "{error}");
    }
}

#[test]
fn pairs_that_are_alike_are_claimed_once() {
    let policy = parse("version: 1\nassertions: [{from: 'vm:*', to: internet, deny: any}]").unwrap();
    let snapshot = snapshot();
    let topology = Topology::from_snapshot(&snapshot);
    let all_alike = vec![0; topology.nics.len()];
    let Expansion { claims, readings } =
        expand(&policy.assertions, (&snapshot, &topology), &[], &all_alike).unwrap();
    assert_eq!((claims.len(), readings[0].pairs), (2, topology.nics.len()));
}

#[test]
fn forwarded_ports_are_taken_out_of_what_the_models_deny() {
    let policy = parse("version: 1\nforwards: [{to: 'vm:web1', traffic: [tcp/443, udp/443]}]").unwrap();
    let topology = Topology::from_snapshot(&snapshot());
    let web1 = topology.nics.iter().position(|nic| nic.vm == "web1").unwrap();
    let scope = crate::model::Scope::default();
    let mut claims = crate::model::claims(&topology, &scope, &[]);
    policy.open(&topology, &mut claims).unwrap();
    let open = |claim: &&Claim| !claim.selection.except.is_empty();
    let opened: Vec<_> = claims.iter().filter(open).collect();
    assert!(!opened.is_empty());
    for claim in opened {
        assert_eq!((claim.from, claim.to), (Zone::Outside, Zone::Nic(web1)));
        assert_eq!(claim.selection.except, [Protocol::Tcp(443..=443), Protocol::Udp(443..=443)]);
    }
}

#[test]
fn a_finding_is_accepted_by_id_subject_and_day() {
    let text =
        "version: 1\naccept: [{finding: 'network-*', on: 'network:lab*', reason: ours, until: 2026-12-31}]";
    let policy = parse(text).unwrap();
    let finding = |id: &str, subject: &str| Finding {
        id: id.to_owned(),
        severity: Severity::Warning,
        title: String::new(),
        subjects: vec![subject.to_owned(), "vm:web1".to_owned()],
        cause: String::new(),
        evidence: Vec::new(),
        breaks: Vec::new(),
        fix: Fix::default(),
    };
    let accepts = |policy: &Policy, id, subject, day| policy.accepts(&finding(id, subject), day).is_some();
    let last = date(2026, 12, 31);
    assert!(accepts(&policy, "network-inactive", "network:lab2", last));
    assert!(!accepts(&policy, "network-inactive", "network:lab2", date(2027, 1, 1)));
    assert!(!accepts(&policy, "network-inactive", "network:default", last));
    assert!(!accepts(&policy, "dnsmasq-dead", "network:lab2", last));
    assert_eq!(policy.expired(last).count(), 0);
    let expired: Vec<_> = policy.expired(date(2027, 1, 1)).collect();
    assert!(expired[0].line == 2 && expired[0].text.contains("2026-12-31 was the last day: ours"));
    let over = Expired { finding: "network-*".to_owned(), until: "2026-12-31".to_owned() };
    assert_eq!(expired[0].expired, Some(over));
}

#[test]
fn whom_an_accepted_finding_is_about_is_there() {
    let topology = Topology::from_snapshot(&snapshot());
    let look_up = |on: &str| {
        let text = format!("version: 1\naccept: [{{finding: x, on: {on}, reason: y}}]");
        parse(&text).expect(on).look_up(&topology)
    };
    for on in ["'vm:web*'", "['network:iso', host]", "'link:gone0'", "'*'", "'*:nobody'"] {
        assert_eq!(look_up(on), Ok(()), "{on}");
    }
    assert!(look_up("['vm:web1', 'vm:wbe1']").expect_err("nobody").what.contains("called `wbe1`"));
    assert!(look_up("'network:lab'").expect_err("nobody").what.contains("no network `lab`"));
}

#[test]
fn a_drafted_policy_is_one() {
    let topology = Topology::from_snapshot(&snapshot());
    let policy = parse(&draft(&topology, "kvm1\n# hostile")).unwrap();
    assert!(policy.assertions.len() > 5);
    let denied = policy.assertions.iter().filter(|one| one.expected == Expected::Deny).count();
    assert!(denied > 2, "{denied}");
    assert!(
        pairs(&expanded("  - {from: 'vm:db1', to: internet, deny: tcp/8000-8099}").unwrap())[0]
            .ends_with("tcp/8000")
    );
    assert_eq!(policy.assertions[0].traffic, [Protocol::Icmp, Protocol::Tcp(443..=443)]);
}

#[test]
fn a_tag_means_the_vms_that_have_it() {
    let policy = parse("version: 1\nassertions:\n  - {from: 'tag:w*', to: 'vm:db1', deny: any}\n").unwrap();
    let snapshot = snapshot();
    let mut topology = Topology::from_snapshot(&snapshot);
    let alike: Vec<usize> = (0..topology.nics.len()).collect();
    let senders = |topology: &Topology| {
        let expansion = expand(&policy.assertions, (&snapshot, topology), &[], &alike)?;
        let claims = expansion.claims.iter().filter(|claim| !claim.ipv6);
        Ok::<_, Unmatched>(claims.map(|claim| claim.from).collect::<Vec<_>>())
    };
    let said = senders(&topology).unwrap_err().what;
    assert_eq!(said, "there is no VM with a NIC that is tagged `w*`");
    let web1 = topology.nics.iter().position(|nic| nic.vm == "web1").expect("a VM of the fixture");
    topology.nics[web1].tags = vec!["prod".to_owned(), "web".to_owned()];
    assert_eq!(senders(&topology).unwrap(), [Zone::Nic(web1)]);
}
