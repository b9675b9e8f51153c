//! Text that is safe to show, and how it is broken into lines and coloured.
//!
//! Names in a report come from guests and from whoever writes a domain's XML. They are hostile:
//! nothing of them may steer the terminal, hide, reorder or flood what stands around them.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How much room there is, and whether colour is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Columns of the terminal. Only commands, which are to be copied, may be longer.
    pub width: usize,
    /// Escape sequences for colour may be written.
    pub colour: bool,
}

impl Form {
    /// A terminal of the usual 80 columns, where a report of one broken VM is to fit into 24 lines.
    pub(crate) fn is_narrow(self) -> bool {
        self.width < 100
    }
}

/// The most characters that are shown of a name.
const NAME_LIMIT: usize = 64;
/// The most characters that are shown of a sentence, a rule or a command.
const PROSE_LIMIT: usize = 1000;
/// What a list shows before it says how many more there are.
const LIST_LIMIT: usize = 12;

/// A name as it may be shown: on one line, without control characters, bounded in length.
pub fn printable(name: &str) -> Cow<'_, str> {
    bounded(name, NAME_LIMIT)
}

/// A sentence, a rule or a command as it may be shown: like [`printable`], with room for more.
pub fn printable_prose(text: &str) -> Cow<'_, str> {
    bounded(text, PROSE_LIMIT)
}

/// `items` with commas between them, each as [`printable`] shows it, and `… and 988 more`.
pub fn printable_list<'a>(items: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = items.len().saturating_sub(LIST_LIMIT);
    let mut list = items.take(LIST_LIMIT).map(printable).collect::<Vec<_>>().join(", ");
    if more > 0 {
        let _ = write!(list, " … and {more} more");
    }
    list
}

fn bounded(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit && !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    let mut room = limit;
    for char in text.chars() {
        let escaped = is_hostile(char).then(|| char.escape_default());
        let needed = escaped.as_ref().map_or(1, ExactSizeIterator::len);
        if needed > room {
            shown.push('…');
            break;
        }
        room -= needed;
        match escaped {
            Some(escaped) => shown.extend(escaped),
            None => shown.push(char),
        }
    }
    Cow::Owned(shown)
}

/// Whether a character steers the terminal, breaks the line, reorders its neighbours or is not seen.
fn is_hostile(char: char) -> bool {
    char.is_control()
        || matches!(char,
            // Marks, embeddings, overrides and isolates of the bidirectional algorithm (UAX #9).
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Line and paragraph separators.
            | '\u{2028}' | '\u{2029}'
            // Combining marks, which pile up on their neighbours, are bounded by the length; these are
            // not seen at all: soft hyphen, joiners, fillers, interlinear marks, variants, tags.
            | '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}'
            | '\u{206a}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
            // Not characters, and not allowed in XML.
            | '\u{fffe}' | '\u{ffff}')
}

/// Columns that the text takes on a terminal.
pub(crate) fn width_of(text: &str) -> usize {
    text.width()
}

/// The words of a text; a command between backticks is one, so that it can be copied.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(' ');
        let mut quoted = false;
        let end = rest.char_indices().find_map(|(at, char)| {
            quoted ^= char == '`';
            (char == ' ' && !quoted).then_some(at)
        });
        // One that is never closed quotes nothing.
        let end = if quoted { rest.find(' ') } else { end };
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        (!word.is_empty()).then_some(word)
    })
}

/// The text in lines of at most `width` columns, broken at spaces outside of backticks, or anywhere in a word that is
/// longer than a line.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    // A command that is longer than a line is broken at its own spaces.
    let fits = |word: &&str| width_of(word) <= width;
    let words = words(text).flat_map(|word| if fits(&word) { vec![word] } else { word.split(' ').collect() });
    for word in words {
        if !line.is_empty() && width_of(&line) + 1 + width_of(word) > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        for char in word.chars() {
            if !line.is_empty() && width_of(&line) + char.width().unwrap_or(0) > width {
                lines.push(std::mem::take(&mut line));
            }
            line.push(char);
        }
    }
    lines.push(line);
    lines
}

/// `42 s`, `3 min`, `5 h`, `2 d`.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `1 network`, `3 networks`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// How a piece of text stands out where colour is wanted. It says nothing that the words do not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Bold,
    Dim,
    Red,
    Yellow,
    Green,
}

impl Paint {
    /// The text between the escape sequences (ECMA-48 SGR), or alone.
    pub(crate) fn apply(self, text: &str, colour: bool) -> Cow<'_, str> {
        if !colour || text.is_empty() {
            return Cow::Borrowed(text);
        }
        let code = match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Red => "1;31",
            Self::Yellow => "33",
            Self::Green => "32",
        };
        Cow::Owned(format!("\x1b[{code}m{text}\x1b[0m"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_shown_as_they_are() {
        for name in ["web1", "größe", "vm-東京", "a b", "naïve", "52:54:00:aa:00:01"] {
            assert_eq!(printable(name), name);
        }
    }

    #[test]
    fn hostile_names_steer_nothing() {
        for (name, shown) in [
            ("a\nERROR  b", r"a\nERROR  b"),
            ("\x1b[2Jgone", r"\u{1b}[2Jgone"),
            ("bell\x07\r\t", r"bell\u{7}\r\t"),
            ("\u{9b}31m", r"\u{9b}31m"),
            ("\u{202e}live\u{2066}", r"\u{202e}live\u{2066}"),
            ("we\u{200b}b1", r"we\u{200b}b1"),
            ("\u{e0041}\u{2028}", r"\u{e0041}\u{2028}"),
            ("\u{fffe}\u{ffff}", r"\u{fffe}\u{ffff}"),
        ] {
            assert_eq!(printable(name), shown);
        }
    }

    #[test]
    fn long_names_are_cut() {
        let shown = printable_prose(&"x".repeat(1 << 20)).into_owned();
        assert_eq!(shown.chars().count(), PROSE_LIMIT + 1);
        assert!(printable(&"\u{202e}".repeat(99)).chars().count() <= NAME_LIMIT + 1);
        assert_eq!(printable(&"é".repeat(65)), format!("{}…", "é".repeat(64)));
        assert_eq!(printable(&"é".repeat(64)), "é".repeat(64));
    }

    #[test]
    fn lines_are_broken_at_spaces_and_long_words_anywhere() {
        assert_eq!(wrap("all of it  fits", 20), ["all of it fits"]);
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("2001:db8::1 x", 5), ["2001:", "db8::", "1 x"]);
        assert_eq!(wrap("東京東京", 4), ["東京", "東京"]);
        assert_eq!(wrap("try `ip link` or so", 11), ["try", "`ip link`", "or so"]);
        assert_eq!(wrap("`ip link set`, or", 9), ["`ip link", "set`, or"]);
        assert_eq!(wrap("a ` b c", 3), ["a `", "b c"]);
        assert_eq!(wrap("", 0), [""]);
    }

    #[test]
    fn lists_say_how_many_more_there_are() {
        let names: Vec<_> = (0..1000).map(|number| format!("v{number}")).collect();
        let list = printable_list(names.iter().map(String::as_str));
        assert!(list.ends_with("v10, v11 … and 988 more"), "{list}");
        assert_eq!(printable_list(["a", "b"].into_iter()), "a, b");
    }
}
