//! Names in commands that somebody will paste into a root shell.

/// The name as one word of a POSIX shell: as it is if that is safe, else in single quotes. Names of
/// networks, domains and devices may hold anything.
pub fn quoted(name: &str) -> String {
    let safe =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/' | '@' | '%' | '+');
    if !name.is_empty() && !name.starts_with('-') && name.chars().all(safe) {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_names_go_unquoted() {
        assert_eq!(quoted("virbr0"), "virbr0");
        assert_eq!(quoted("eth0.10"), "eth0.10");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("$(reboot)"), "'$(reboot)'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("-rf"), "'-rf'");
        assert_eq!(quoted(""), "''");
    }
}
