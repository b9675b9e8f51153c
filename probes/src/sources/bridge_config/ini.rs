//! `[Section]` and `key=value`, as NetworkManager and systemd write them.

/// The settings of a file, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ini(Vec<(String, String, String)>);

impl From<&str> for Ini {
    /// Lines that are neither a section nor a setting say nothing about bridges.
    fn from(text: &str) -> Self {
        let mut settings = Vec::new();
        let mut section = String::new();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                name.clone_into(&mut section);
            } else if let Some((key, value)) = line.split_once('=') {
                settings.push((section.clone(), key.trim().to_owned(), value.trim().to_owned()));
            }
        }
        Self(settings)
    }
}

impl Ini {
    /// The last value of a key, by any of its names; `None` if it is empty.
    pub(super) fn last(&self, section: &str, keys: &[&str]) -> Option<&str> {
        let values = self.0.iter().rev().filter(|(of, key, _)| of == section && keys.contains(&key.as_str()));
        values.map(|(_, _, value)| value.as_str()).next().filter(|value| !value.is_empty())
    }

    /// The keys of a section.
    pub(super) fn keys(&self, section: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(of, ..)| of == section).map(|(_, key, _)| key.as_str())
    }

    /// The words of all values of a key; an empty value forgets those before it, as systemd has it.
    pub(super) fn words(&self, section: &str, key: &str) -> Vec<&str> {
        let mut words = Vec::new();
        for (_, _, value) in self.0.iter().filter(|(of, name, _)| of == section && name == key) {
            if value.is_empty() {
                words.clear();
            }
            words.extend(value.split_whitespace());
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_belong_to_their_section() {
        let ini = Ini::from("key=0\n# key=x\n[a]\n key = 1 \n;key=2\n[b]\nkey=3\nkey=\n[a]\nkey=4 5\nnonsense\n");
        assert_eq!(ini.last("a", &["other", "key"]), Some("4 5"));
        assert_eq!(ini.last("b", &["key"]), None);
        assert_eq!(ini.words("a", "key"), ["1", "4", "5"]);
        assert!(ini.words("b", "key").is_empty());
    }
}
