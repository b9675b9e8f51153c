//! What a trial changes on the host, item by item, and how it is loaded.

use std::fmt;

use anyhow::bail;

use crate::host::{Host, port_default};
use crate::run::{feed, sysctl};

/// One change. Each can be left out for itself; what the kernel then refuses is left out, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// A sysctl, by its name with slashes.
    Sysctl { name: String, value: String },
    /// A line of `ip -batch`: a route or a policy rule.
    Ip { ipv6: bool, line: String },
    /// A line of `bridge -batch`.
    Bridge(String),
    /// A line of `nft -f`.
    Nft(String),
    /// A line of `iptables-restore` or one of its sisters.
    Xtables { program: &'static str, table: &'static str, line: String },
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl { name, value } => write!(f, "sysctl {name}={value}"),
            Self::Ip { ipv6: false, line } => write!(f, "ip {line}"),
            Self::Ip { ipv6: true, line } => write!(f, "ip -6 {line}"),
            Self::Bridge(line) => write!(f, "bridge {line}"),
            Self::Nft(line) => write!(f, "nft {line}"),
            Self::Xtables { program, table, line } => write!(f, "{program} -t {table} {line}"),
        }
    }
}

/// The programs of xtables, and the tables that they have, in the order in which they are loaded.
pub(crate) const PROGRAMS: [&str; 4] = ["iptables", "ip6tables", "ebtables", "arptables"];
pub(crate) const TABLES: [&str; 4] = ["raw", "mangle", "nat", "filter"];

/// Puts the host back and loads the items; gives those that the kernel took.
pub(crate) fn load(host: &mut Host, items: &[Item]) -> anyhow::Result<Vec<Item>> {
    host.reset()?;
    let mut taken = Vec::new();
    let mut undo = Vec::new();
    for item in items {
        if let Item::Sysctl { name, value } = item {
            let before = std::fs::read_to_string(format!("/proc/sys/{name}"));
            if let Ok(before) = before
                && sysctl(name, value).is_ok()
            {
                undo.push(Item::Sysctl { name: name.clone(), value: before.trim().to_owned() });
                taken.push(item.clone());
            }
        }
        if let Item::Bridge(line) = item {
            undo.push(undone(line));
        }
    }
    host.changed(undo);
    for ipv6 in [false, true] {
        let family = if ipv6 { "-6" } else { "-4" };
        let lines = of(items, |item| matches!(item, Item::Ip { ipv6: own, .. } if *own == ipv6));
        taken.extend(forced("ip", &[family, "-force", "-batch", "-"], lines)?);
    }
    let lines = of(items, |item| matches!(item, Item::Bridge(_)));
    taken.extend(forced("bridge", &["-force", "-batch", "-"], lines)?);
    taken.extend(all_or_nothing("nft", of(items, |item| matches!(item, Item::Nft(_))), nft)?);
    for wanted in PROGRAMS {
        for kind in TABLES {
            let lines = of(
                items,
                |item| matches!(item, Item::Xtables { program, table, .. } if *program == wanted && *table == kind),
            );
            taken.extend(all_or_nothing(wanted, lines, |lines| xtables(wanted, kind, lines))?);
        }
    }
    Ok(taken)
}

fn of(items: &[Item], wanted: impl Fn(&Item) -> bool) -> Vec<Item> {
    items.iter().filter(|item| wanted(item)).cloned().collect()
}

/// The line without which the bridge is as before.
fn undone(line: &str) -> Item {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["link", "set", "dev", port, flag, _] => port_default(port, flag),
        ["fdb", "add", mac, "dev", port, ..] => Item::Bridge(format!("fdb del {mac} dev {port} master")),
        _ => panic!("not known how to undo `bridge {line}`"),
    }
}

fn text(item: &Item) -> &str {
    match item {
        Item::Ip { line, .. } | Item::Bridge(line) | Item::Nft(line) | Item::Xtables { line, .. } => line,
        Item::Sysctl { .. } => "",
    }
}

fn lines(items: &[Item]) -> String {
    items.iter().map(text).collect::<Vec<_>>().join("\n") + "\n"
}

/// Runs all lines and goes past those that fail.
fn forced(program: &str, arguments: &[&str], items: Vec<Item>) -> anyhow::Result<Vec<Item>> {
    if items.is_empty() {
        return Ok(items);
    }
    let script = lines(&items);
    let (_, errors) = feed(program, arguments, &script)?;
    let failed: Vec<usize> = errors
        .lines()
        .filter_map(|line| line.strip_prefix("Command failed -:")?.trim().parse().ok())
        .collect();
    let taken = items.into_iter().enumerate().filter(|(at, _)| !failed.contains(&(at + 1)));
    Ok(taken.map(|(_, item)| item).collect())
}

/// Loads all lines at once, without those that are refused.
fn all_or_nothing(
    program: &str,
    mut items: Vec<Item>,
    load: impl Fn(&[Item]) -> anyhow::Result<Result<(), (Vec<usize>, String)>>,
) -> anyhow::Result<Vec<Item>> {
    while !items.is_empty() {
        let Err((refused, error)) = load(&items)? else { break };
        if refused.is_empty() {
            bail!("{program} failed, and does not say by which line: {error}");
        }
        let mut at = 0;
        items.retain(|_| {
            at += 1;
            !refused.contains(&at)
        });
    }
    Ok(items)
}

/// The lines that are refused, counted from 1, and the whole complaint.
type Refused = (Vec<usize>, String);

fn nft(items: &[Item]) -> anyhow::Result<Result<(), Refused>> {
    let script = lines(items);
    let (success, errors) = feed("nft", &["-f", "-"], &script)?;
    let number = |line: &str| line.strip_prefix("/dev/stdin:")?.split(':').next()?.parse().ok();
    Ok(if success { Ok(()) } else { Err((errors.lines().filter_map(number).collect(), errors)) })
}

fn xtables(program: &str, table: &str, items: &[Item]) -> anyhow::Result<Result<(), Refused>> {
    let script = lines(items);
    // ebtables has no such line.
    let commit = if program == "ebtables" { "" } else { "COMMIT\n" };
    let script = format!("*{table}\n{script}{commit}");
    let (success, errors) = feed(&format!("{program}-restore"), &["--noflush"], &script)?;
    if success {
        return Ok(Ok(()));
    }
    // `line 3 failed`, `Error occurred at line: 3`; the first line is the table's.
    let words: Vec<&str> =
        errors.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let after_line = words.windows(2).filter(|pair| pair[0] == "line");
    let mut refused: Vec<usize> =
        after_line.filter_map(|pair| pair[1].parse::<usize>().ok()?.checked_sub(1)).collect();
    refused.retain(|at| *at >= 1 && *at <= items.len());
    if refused.is_empty() {
        // The kernel refused the whole: a chain that is missing is told of COMMIT's line.
        refused.push(items.len());
    }
    Ok(Err((refused, errors)))
}
