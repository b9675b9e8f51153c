//! The table of NICs and taps.

use insta::assert_snapshot;
use kvmnet_reports::ports::{Note, Port, PortAddress, PortMac, Ports, SCHEMA, write};
use kvmnet_reports::text::Form;

fn port(vm: &str, nic: usize, learned: &[&str], notes: &[(bool, &str)]) -> Port {
    let known = |address: &str, sources: &[&str]| PortAddress {
        address: address.into(),
        sources: sources.iter().map(|&source| source.into()).collect(),
    };
    Port {
        vm: vm.into(),
        nic,
        tap: Some(format!("vnet{nic}")),
        bridge: Some("virbr0".into()),
        expected_bridge: Some("virbr0".into()),
        network: Some("default".into()),
        mac: PortMac {
            xml: "52:54:00:aa:00:01".into(),
            tap: Some("fe:54:00:aa:00:01".into()),
            learned: learned.iter().map(|&mac| mac.into()).collect(),
        },
        addresses: vec![
            known("192.168.122.102", &["lease", "neighbour"]),
            known("fe80::5054:ff:feaa:1", &["neighbour"]),
        ],
        notes: notes.iter().map(|&(disagreement, text)| Note { disagreement, text: text.into() }).collect(),
    }
}

fn ports() -> Ports {
    Ports {
        schema: SCHEMA.into(),
        host: "kvm1".into(),
        ports: vec![
            port("web1", 1, &["52:54:00:aa:00:01"], &[]),
            port(
                "web2",
                2,
                &["52:54:00:de:ad:01"],
                &[(true, "sends from 52:54:00:de:ad:01"), (false, "paused")],
            ),
            Port {
                tap: None,
                bridge: None,
                addresses: Vec::new(),
                ..port("off\n\u{202e}1", 1, &[], &[(false, "off")])
            },
        ],
        unread: vec!["fdb: dump MAC tables: interrupted".into()],
    }
}

fn render(ports: &Ports, width: usize) -> String {
    let mut text = Vec::new();
    write(ports, Form { width, colour: false }, &mut text).expect("a Vec takes every byte");
    String::from_utf8(text).expect("the table is text")
}

#[test]
fn nics_and_taps() {
    assert_snapshot!(render(&ports(), 140));
    assert_snapshot!(render(&ports(), 80));
}

#[test]
fn no_nic() {
    let none = Ports { ports: Vec::new(), unread: Vec::new(), ..ports() };
    assert_snapshot!(render(&none, 80));
}

#[test]
fn every_width_renders() {
    for width in 0..140 {
        assert!(render(&ports(), width).contains("1 in disagreement"), "{width}");
    }
    for line in render(&ports(), 72).lines() {
        assert!(unicode_width::UnicodeWidthStr::width(line) <= 72, "{line}");
    }
}
