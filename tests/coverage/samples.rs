//! Rules that stand for all that nft, iptables, ebtables and arptables can say.

/// A rule, or several of the same kind.
#[derive(Debug)]
pub(crate) struct Sample {
    /// A heading of the table.
    pub(crate) group: &'static str,
    pub(crate) place: Place,
    /// What it samples. Of xtables the first word is the extension's name.
    pub(crate) name: &'static str,
    /// Rules that ask for different things, as the tool reads them.
    pub(crate) rules: Vec<&'static str>,
}

impl Sample {
    /// It asks, and a verdict has to be added.
    pub(crate) fn is_match(&self) -> bool {
        self.group.ends_with("matches") || self.group.ends_with("expressions")
    }

    /// The extension that it samples.
    pub(crate) fn extension(&self) -> &'static str {
        self.name.split(' ').next().unwrap_or_default()
    }
}

/// Where a rule is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    /// A family of nft, or `iptables`, `ip6tables`, `ebtables` or `arptables`.
    pub(crate) tool: &'static str,
    pub(crate) table: &'static str,
    pub(crate) chain: &'static str,
}

impl Place {
    pub(crate) fn is_nft(self) -> bool {
        !self.tool.ends_with("tables")
    }

    /// The family of the table as the kernel calls it.
    pub(crate) fn family(self) -> &'static str {
        match self.tool {
            "iptables" => "ip",
            "ip6tables" => "ip6",
            "ebtables" => "bridge",
            "arptables" => "arp",
            family => family,
        }
    }
}

/// All of them, in the order of the table.
pub(crate) fn all() -> Vec<Sample> {
    let texts = [
        include_str!("nft_expressions.rules"),
        include_str!("nft_statements.rules"),
        include_str!("xtables_matches.rules"),
        include_str!("xtables_targets.rules"),
        include_str!("frames.rules"),
    ];
    let mut samples: Vec<Sample> = Vec::new();
    for text in texts {
        let mut section = None;
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(heading) = line.strip_prefix("== ") {
                section = Some(parse_heading(heading));
                continue;
            }
            let (group, place) = section.expect("a heading comes first");
            let (name, rule) = line.split_once('|').expect("a name and a rule");
            let (name, rule) = (name.trim(), rule.trim());
            match samples.last_mut() {
                Some(last) if name.is_empty() => last.rules.push(rule),
                _ => samples.push(Sample { group, place, name, rules: vec![rule] }),
            }
        }
    }
    samples
}

/// `nft statements: inet forward` or `iptables matches: iptables filter FORWARD`.
fn parse_heading(heading: &'static str) -> (&'static str, Place) {
    let (group, place) = heading.split_once(": ").expect("a group and a place");
    let words: Vec<_> = place.split(' ').collect();
    let place = match words.as_slice() {
        [tool, chain] => Place { tool, table: "t", chain },
        [tool, table, chain] => Place { tool, table, chain },
        _ => panic!("{heading}: not a place"),
    };
    (group, place)
}
