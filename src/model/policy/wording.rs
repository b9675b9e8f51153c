//! What is wrong with a file's YAML, in words of policies rather than of the library that reads it.

use serde_saphyr::granit_parser::Parser;
use serde_saphyr::{Error, MessageFormatter as _, UserMessageFormatter};

use super::Malformed;

/// YAML takes an unquoted `!` for a tag, which takes the word's place or is not heard of again: `!vm:web1` would be
/// nobody, and `! vm:web1` would be web1.
pub(super) fn refuse_tags(text: &str) -> Result<(), Malformed> {
    // What is no YAML is told when it is read.
    for (_, span) in Parser::new_from_str(text).map_while(Result::ok) {
        let Some(tag) = span.tag_start() else { continue };
        let (line, at) = (tag.line(), tag.col());
        let content = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        let rest =
            content.chars().skip(at).take_while(|char| !char.is_whitespace() && !",[]{}".contains(*char));
        let what =
            format!("quote what begins with `!`, or YAML takes it for a tag: '{}'", rest.collect::<String>());
        return Err(Malformed { what, line, column: at + 1, wanted: None });
    }
    Ok(())
}

/// The library's message, without its names for things and advice to who calls it.
pub(super) fn of(error: &Error) -> String {
    match error.without_snippet() {
        Error::Unexpected { expected: "sequence start", .. } => "a list is wanted here".to_owned(),
        Error::Unexpected { expected: "mapping start", .. } => "`key: value` is wanted here".to_owned(),
        Error::InvalidScalar { ty: "u32", .. } => "a number is wanted here".to_owned(),
        Error::InvalidScalar { .. } => "this cannot stand here".to_owned(),
        Error::NullIntoString { .. } => "a word is wanted here, and nothing stands here".to_owned(),
        Error::SerdeInvalidType { unexpected, expected, .. } => {
            let found = match unexpected.as_str() {
                "unit value" => "nothing",
                "map" => "`key: value`",
                "sequence" => "a list",
                other => other,
            };
            format!("{expected} is wanted here, and {found} stands here")
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            format!("`{variant}` is none of {}", expected.join(", "))
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("duplicate: `{key}` stood here before"),
        Error::DuplicateMappingKey { key: None, .. } => "duplicate: it stood here before".to_owned(),
        Error::MultipleDocuments { .. } => {
            "a policy is one document, and `---` begins another one".to_owned()
        }
        Error::UnknownAnchor { .. } => QUOTE_STAR.to_owned(),
        other => match UserMessageFormatter.format_message(other).as_ref() {
            said if said.contains("scanning an anchor or alias") => QUOTE_STAR.to_owned(),
            said if said.contains("tabs disallowed") => {
                "YAML is indented with spaces, not with tabs".to_owned()
            }
            said => said.to_owned(),
        },
    }
}

/// The word that is not known, and those that could stand there.
pub(super) fn wanted(error: &Error) -> Option<(String, Vec<String>)> {
    let (word, known) = match error.without_snippet() {
        Error::SerdeUnknownVariant { variant, expected, .. } => (variant, expected),
        Error::SerdeUnknownField { field, expected, .. } => (field, expected),
        _ => return None,
    };
    Some((word.clone(), known.iter().map(|word| (*word).to_owned()).collect()))
}

const QUOTE_STAR: &str = "quote what begins with `*` or `&`, or YAML takes it for a reference";
