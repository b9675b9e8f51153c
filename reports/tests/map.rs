//! The map, in every form in which it is drawn, read by Graphviz and libxml2. Of Mermaid the distribution has no reader:
//! there each line is held against the little of its grammar that is written.

#[path = "formats/consumer.rs"]
#[expect(dead_code, reason = "the tests of the formats ask Python too")]
mod consumer;
#[expect(dead_code, reason = "the tests of the formats look at more hosts")]
mod hosts;

use insta::assert_snapshot;
use kvmnet_reports::map::{DRAWINGS, Drawing, Map, unread};
use kvmnet_reports::text::Form;
use kvmnet_reports::{LinkState, NicState, Report, SourceStatus};

use hosts::{broken, healthy, hostile, hundred, invaded, invasions, many, thousand};

fn draw(name: &str, report: &Report) -> String {
    let unread: Vec<_> = unread(&report.sources).collect();
    let map = Map::new(&report.host.name, &report.networks, &report.nics, &unread);
    let drawing = Drawing::named(name).unwrap_or_else(|| panic!("no drawing {name}"));
    let mut text = Vec::new();
    drawing.draw(&map, Form { width: 80, colour: false }, &mut text).expect("a Vec takes every byte");
    String::from_utf8(text).expect("text")
}

fn hosts_of_all_kinds() -> Vec<Report> {
    let mut hosts = invasions();
    hosts.extend([healthy(), broken(), hostile(), hundred(), thousand()]);
    hosts
}

#[test]
fn nothing_steers_hides_or_floods() {
    for drawing in DRAWINGS {
        for report in hosts_of_all_kinds() {
            let text = draw(drawing.name, &report);
            let strange: Vec<_> = text
                .chars()
                .filter(|char| {
                    char.is_control() && *char != '\n'
                        || "\u{202e}\u{2066}\u{200f}\u{2028}\u{feff}\u{fffe}\u{ffff}".contains(*char)
                })
                .collect();
            assert!(strange.is_empty(), "{}: {strange:?}", drawing.name);
            assert!(text.len() < 60_000, "{}: {} octets", drawing.name, text.len());
            if drawing.name == "ascii" {
                assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
            }
        }
    }
}

/// Whatever names say, the drawing has the same elements, and they have the same attributes.
#[test]
fn svg_is_xml_of_the_usual_elements() {
    let outline = |report: &Report| {
        let text = draw("svg", report);
        consumer::read("xmllint", &["--noout", "--nonet", "-"], "libxml2-utils", &text);
        let names = "//*[not(self::*[name()='style'])]";
        let elements = consumer::read(
            "xmllint",
            &[
                "--nonet",
                "--xpath",
                &format!("concat(count({names}),' ',count(//@*),' ',count(//*[name()='text']))"),
                "-",
            ],
            "libxml2-utils",
            &text,
        );
        (elements, text)
    };
    let (usual, _) = outline(&invaded("web1"));
    for report in invasions() {
        let (elements, text) = outline(&report);
        assert_eq!(elements, usual, "{text}");
    }
    for report in [healthy(), hostile(), hundred(), thousand()] {
        outline(&report);
    }
}

/// Graphviz draws it without a complaint, and draws what was meant: so many boxes and lines of text, and no link.
#[test]
fn graphviz_reads_the_dot() {
    let drawn = |report: &Report| {
        let svg = consumer::read("dot", &["-Tsvg"], "graphviz", &draw("dot", report));
        consumer::read("xmllint", &["--noout", "--nonet", "-"], "libxml2-utils", &svg);
        ["class=\"node\"", "class=\"edge\"", "<text ", "<a ", "<image"].map(|part| svg.matches(part).count())
    };
    let usual = drawn(&invaded("web1"));
    for report in invasions() {
        assert_eq!(drawn(&report), usual, "{}", draw("dot", &report));
    }
    // Two uplinks' worth of networks, an isolated one, four NICs.
    let [nodes, edges, _, links, images] = drawn(&healthy());
    assert_eq!((nodes, edges, links, images), (11, 9, 0, 0));
    for report in [hostile(), hundred(), thousand()] {
        drawn(&report);
    }
}

/// A text of Mermaid holds letters, digits, entities and what has no meaning there.
#[test]
fn mermaid_is_of_a_known_grammar() {
    let is_node = |text: &str| text.strip_prefix('n').is_some_and(|digits| digits.parse::<usize>().is_ok());
    let is_text = |text: &str| {
        let mut rest = text.replace("<br/>", "");
        while let Some((before, after)) = rest.split_once('#') {
            let Some((code, after)) = after.split_once(';') else { return false };
            if code.parse::<u32>().is_err() {
                return false;
            }
            rest = format!("{before}{after}");
        }
        rest.chars().all(|char| char.is_alphanumeric() || " .,:/-…".contains(char))
    };
    let quoted = |text: &str, open: &str, close: &str| {
        text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close)).is_some_and(is_text)
    };
    for report in hosts_of_all_kinds() {
        for line in draw("mermaid", &report).lines() {
            let line = line.trim_start();
            let box_of = line.find(['[', '(']).map(|at| line.split_at(at)).filter(|(node, _)| is_node(node));
            let known = match (box_of, line.split_once(' ')) {
                (Some((_, shape)), _) => quoted(shape, "[\"", "\"]") || quoted(shape, "([\"", "\"])"),
                (None, Some(("subgraph", title))) => quoted(title, "host[\"", "\"]"),
                (
                    None,
                    Some(
                        ("flowchart", "LR")
                        | ("classDef", "odd stroke:#b3261e,stroke-width:3px" | "off stroke-dasharray:4 3"),
                    ),
                ) => true,
                (None, Some(("class", rest))) => rest.split_once(' ').is_some_and(|(nodes, class)| {
                    nodes.split(',').all(is_node) && ["odd", "off"].contains(&class)
                }),
                (None, Some((from, rest))) => {
                    let to = rest.split_once(' ').filter(|(link, _)| ["---", "-.-"].contains(link));
                    is_node(from) && to.is_some_and(|(_, to)| is_node(to))
                }
                (None, None) => line == "end",
            };
            assert!(known, "{line}");
        }
    }
}

#[test]
fn healthy_host() {
    assert_snapshot!(draw("ascii", &healthy()));
}

#[test]
fn a_hundred_nics() {
    assert_snapshot!(draw("ascii", &hundred()));
}

#[test]
fn a_thousand_nics_are_few_lines() {
    assert_snapshot!(draw("ascii", &thousand()));
}

#[test]
fn hostile_names() {
    assert_snapshot!(draw("ascii", &hostile()));
    assert_snapshot!(draw("dot", &hostile()));
    assert_snapshot!(draw("mermaid", &hostile()));
}

/// Every NIC and every network is drawn or counted, however many there are of a kind.
#[test]
fn nothing_is_left_out() {
    let mut report = many(40, 3);
    // The only one of its mode.
    report.networks[4].mode = "route".into();
    let text = draw("ascii", &report);
    let numbers = |word: &str| -> usize {
        let before =
            |rest: &str| rest.rsplit([' ', '(']).next().and_then(|number| number.parse::<usize>().ok());
        text.split(word).filter_map(before).sum()
    };
    let alone = text.lines().filter(|line| line.contains("-- vm")).count();
    assert_eq!(numbers(" NICs") + numbers(" NIC,") + alone, 120, "{text}");
    assert!(text.contains("network net4 (route"), "{text}");
    let mut quiet = many(40, 1);
    for nic in &mut quiet.nics {
        nic.state = Some(NicState::Up);
    }
    quiet.networks[4].mode = "route".into();
    let text = draw("ascii", &quiet);
    assert!(text.contains("network net4 (route") && text.contains(" more (nat, "), "{text}");
}

/// What is broken is not drawn as whole, and what was not read not as nothing.
#[test]
fn what_is_wrong_is_drawn() {
    let mut report = healthy();
    report.networks[0].bridge_state = Some(LinkState::Down);
    report.networks[1].bridge_state = Some(LinkState::Missing);
    report.sources[0].status = SourceStatus::Missing;
    report.sources[0].reason = Some("no permission".into());
    report.sources[2].status = SourceStatus::Partial;
    report.sources[2].reason = Some("web3 is gone".into());
    let text = draw("ascii", &report);
    for line in [
        "bridge virbr0 (down)",
        "bridge virbr1 (missing)",
        "not read: links (no permission)",
        "read in part: libvirt (web3 is gone)",
    ] {
        assert!(text.contains(line), "no `{line}` in {text}");
    }
    assert!(draw("svg", &report).contains("class=\"unread odd\""));
    (report.networks, report.nics) = (Vec::new(), Vec::new());
    for drawing in DRAWINGS {
        assert!(draw(drawing.name, &report).contains("no permission"), "{}", drawing.name);
    }
}

#[test]
fn a_host_without_anything() {
    let mut report = healthy();
    (report.networks, report.nics) = (Vec::new(), Vec::new());
    assert_eq!(draw("ascii", &report), "kvm1\nno network and no NIC\n");
}
