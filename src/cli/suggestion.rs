//! What the user could have meant.

use std::borrow::Cow;

use kvmnet_reports::text::{printable, printable_list};

/// The known name that is most like the wanted one, and where the others are found.
pub(super) fn did_you_mean(kind: &str, wanted: &str, known: &[String]) -> Option<String> {
    let named = known.iter().map(|name| (likeness(wanted, name), name.as_str().into()));
    match kind {
        // All of them would fill the screen.
        "check" => Some(nearest(named).map_or_else(
            || "`kvmnet explain --list` lists them".to_owned(),
            |best| format!("did you mean `{best}`? `kvmnet explain --list` lists all"),
        )),
        // The message names them.
        "word" => {
            let best = nearest(known.iter().filter_map(|form| in_form(wanted, form)))?;
            (best != wanted).then(|| format!("did you mean `{}`?", printable(&best)))
        }
        _ if known.is_empty() => Some(format!("libvirt knows no {kind}")),
        _ => {
            let list = printable_list(known.iter().map(String::as_str));
            Some(match nearest(named) {
                Some(best) => format!("did you mean `{}`? known: {list}", printable(&best)),
                None => format!("known: {list}"),
            })
        }
    }
}

/// The word brought into a form of a policy, and how much it is like that already. Of `vm:NAME` and `tcp/443` the first
/// part is the form's and the second the user's; what stands in capitals is all the user's.
fn in_form<'a>(word: &str, form: &'a str) -> Option<(f64, Cow<'a, str>)> {
    const SIGNS: [char; 2] = [':', '/'];
    let (kind, sign) = match form.find(SIGNS) {
        Some(at) => (&form[..at], &form[at..=at]),
        None => (form, ""),
    };
    if kind.contains(char::is_uppercase) {
        return None;
    }
    match (word.split_once(SIGNS), sign) {
        (_, "") => Some((likeness(word, form), form.into())),
        (Some((first, second)), _) => Some((likeness(first, kind), format!("{kind}{sign}{second}").into())),
        (None, _) => None,
    }
}

/// From here on names are alike.
const ALIKE: f64 = 0.8;
/// The likeness of what differs by a slip of the hand.
const SLIP: f64 = 0.9;

/// The one that could have been meant.
fn nearest<'a>(names: impl Iterator<Item = (f64, Cow<'a, str>)>) -> Option<Cow<'a, str>> {
    let best = names.max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|(likeness, _)| *likeness > ALIKE).map(|(_, name)| name)
}

/// How much one name is like another, to 1. In three letters Jaro finds none that changed their places, as it looks for
/// each only where it stands.
fn likeness(wanted: &str, name: &str) -> f64 {
    let (wanted, name) = (wanted.to_lowercase(), name.to_lowercase());
    let likeness = strsim::jaro_winkler(&wanted, &name);
    let is_slip = wanted.chars().count() > 2 && strsim::osa_distance(&wanted, &name) == 1;
    if is_slip { likeness.max(SLIP) } else { likeness }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(kind: &str, wanted: &str, known: &[&str]) -> Option<String> {
        let known: Vec<_> = known.iter().map(|name| (*name).to_owned()).collect();
        did_you_mean(kind, wanted, &known)
    }

    #[test]
    fn a_slip_in_a_short_name_is_one() {
        for (wanted, known) in [("mpa", "map"), ("Dns", "dsn"), ("abc1", "abd1"), ("web", "we")] {
            let said = hint("VM", wanted, &["lan1", known]).expect("names");
            assert!(said.starts_with(&format!("did you mean `{known}`? known: lan1, ")), "{wanted}: {said}");
        }
        for wanted in ["xyz", "bd", "m"] {
            assert_eq!(hint("VM", wanted, &["map", "db"]).expect("names"), "known: map, db");
        }
    }

    #[test]
    fn a_word_is_brought_into_the_form_that_it_is_like() {
        let forms =
            &["vm:NAME", "network:NAME", "host", "icmp", "tcp", "tcp/443", "udp/8000-8099", "NET/LENGTH"];
        for (word, meant) in [
            ("hots", Some("host")),
            ("imcp", Some("icmp")),
            ("tpc", Some("tcp")),
            ("tpc/22", Some("tcp/22")),
            ("tcp:22", Some("tcp/22")),
            ("vms:web1", Some("vm:web1")),
            ("netwrok:a/b:c", Some("network:a/b:c")),
            ("host:8", Some("host")),
            // What is wrong is the user's part, or nothing is like it.
            ("tcp/x", None),
            ("web1", None),
            ("name", None),
            ("10.0.0.0/33", None),
            ("", None),
        ] {
            let said = meant.map(|meant| format!("did you mean `{meant}`?"));
            assert_eq!(hint("word", word, forms), said, "{word}");
        }
    }
}
