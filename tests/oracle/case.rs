//! Configurations written down, in the form in which a disagreement is shown.

use crate::config::{Item, PROGRAMS, TABLES};

/// A configuration with what is said of it.
pub(crate) struct Case {
    pub(crate) about: String,
    pub(crate) items: Vec<Item>,
}

/// Blocks that an empty line ends: what they are about after `#`, then one item each line.
pub(crate) fn cases(text: &str) -> Vec<Case> {
    text.split("\n\n").filter(|block| block.lines().any(|line| !is_comment(line))).map(case).collect()
}

fn is_comment(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with('#')
}

fn case(block: &str) -> Case {
    let about: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix('#')).map(str::trim).collect();
    let items = block.lines().filter(|line| !is_comment(line)).map(item).collect();
    Case { about: about.join(" "), items }
}

/// Reads what [`Item`] displays as.
pub(crate) fn item(line: &str) -> Item {
    let (program, rest) = line.trim().split_once(' ').expect("a program and its arguments");
    let rest = rest.to_owned();
    match program {
        "sysctl" => {
            let (name, value) = rest.split_once('=').expect("a sysctl and its value");
            Item::Sysctl { name: name.to_owned(), value: value.to_owned() }
        }
        "ip" => match rest.strip_prefix("-6 ") {
            Some(line) => Item::Ip { ipv6: true, line: line.to_owned() },
            None => Item::Ip { ipv6: false, line: rest },
        },
        "bridge" => Item::Bridge(rest),
        "nft" => Item::Nft(rest),
        program => {
            let words = rest.strip_prefix("-t ").and_then(|rest| rest.split_once(' '));
            let (table, line) = words.expect("a table and a rule");
            let known = |all: [&'static str; 4], one: &str| {
                all.into_iter().find(|name| *name == one).unwrap_or_else(|| panic!("{one} is not known"))
            };
            let (program, table) = (known(PROGRAMS, program), known(TABLES, table));
            Item::Xtables { program, table, line: line.to_owned() }
        }
    }
}

#[test]
fn an_item_is_read_as_it_is_shown() {
    for line in [
        "sysctl net/ipv4/ip_forward=0",
        "ip route add blackhole 10.20.0.0/24 table 101 proto 77",
        "ip -6 rule add pref 110 from fd00:20::1/128 nop",
        "bridge link set dev vnet1 locked on",
        "nft add table ip t0",
        "ip6tables -t nat -A PREROUTING -j REDIRECT",
    ] {
        assert_eq!(item(line).to_string(), line);
    }
}
