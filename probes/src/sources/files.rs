//! Configuration files below the host's root, with what could not be read.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// Reads files; what fails becomes a caveat, what does not exist is none.
pub(super) struct Files<'a> {
    root: &'a Path,
    pub(super) caveats: Vec<String>,
}

impl<'a> Files<'a> {
    /// Files below this directory; their paths are given and shown from there.
    pub(super) fn below(root: &'a Path) -> Self {
        Self { root, caveats: Vec::new() }
    }

    /// Keeps something that could not be read or understood.
    pub(super) fn caveat(&mut self, text: String) {
        self.caveats.push(text);
    }

    /// A file's text; what is not UTF-8 in it is replaced.
    pub(super) fn read(&mut self, path: &str) -> Option<String> {
        let text = fs::read(self.root.join(path.trim_start_matches('/')));
        self.ok(path, text).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The names in a directory, sorted.
    pub(super) fn list(&mut self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(directory.trim_start_matches('/')))
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>());
        let entries = self.ok(directory, entries).unwrap_or_default();
        let mut names: Vec<_> = entries.into_iter().filter_map(|name| name.into_string().ok()).collect();
        names.sort();
        names
    }

    /// The paths of the files that count, by name: a file in an earlier directory hides one of the
    /// same name in a later one.
    pub(super) fn layered(
        &mut self,
        directories: &[&str],
        accept: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, String> {
        let mut paths = BTreeMap::new();
        for directory in directories {
            for name in self.list(directory).into_iter().filter(|name| accept(name)) {
                let path = format!("{directory}/{name}");
                paths.entry(name).or_insert(path);
            }
        }
        paths
    }

    fn ok<T>(&mut self, path: &str, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                None
            }
            Err(error) => {
                self.caveat(format!("read {path}: {error}"));
                None
            }
        }
    }
}

/// Whether a file's name ends in a dot and this.
pub(super) fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == extension)
}

/// Whether a file's name is one that an editor or a package manager left.
pub(super) fn is_backup(name: &str) -> bool {
    const ENDINGS: [&str; 10] =
        ["~", ".bak", ".old", ".orig", ".swp", ".rpmnew", ".rpmorig", ".rpmsave", ".dpkg-dist", ".dpkg-old"];
    name.starts_with('.') || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_exist_is_none_and_what_cannot_be_read_is_a_caveat() {
        let mut files = Files::below(Path::new("/proc/self"));
        assert_eq!(files.read("/missing"), None);
        assert_eq!(files.list("/missing"), Vec::<String>::new());
        assert_eq!(files.list("/comm"), Vec::<String>::new());
        assert_eq!(files.caveats, Vec::<String>::new());
        assert_eq!(files.read("/task"), None);
        assert!(matches!(&files.caveats[..], [one] if one.starts_with("read /task: ")));
    }

    #[test]
    fn left_over_files_do_not_count() {
        for (name, expected) in [("a.bak", true), ("a~", true), (".a.swp", true), ("a.nmconnection", false)] {
            assert_eq!(is_backup(name), expected, "{name}");
        }
    }
}
