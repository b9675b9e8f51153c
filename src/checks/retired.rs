//! Checks that are no more. Policies outlive them: an id that was known once is never used for something else, and
//! whoever names it is warned, not refused.

use super::{CHECKS, Check};

/// A check that is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// Its id, which is nobody else's ever after.
    pub id: &'static str,
    /// The first version without it.
    pub since: &'static str,
    /// What became of it, as what follows a colon: `forward-rule-drop tells it`.
    pub why: &'static str,
}

/// Every check that is no more, by id.
pub const RETIRED: &[Retired] = &[];

impl Retired {
    /// That it is no more, and why.
    pub fn told(&self) -> String {
        let Self { id, since, why } = self;
        format!("since kvmnet {since} there is no finding `{id}` any more: {why}")
    }
}

/// Whom an id, or a pattern of ids, means.
#[derive(Clone)]
pub enum Meant<'a> {
    /// Checks; this is the first.
    Check(&'static Check),
    /// None but what was a check once; never empty.
    Retired(Vec<&'a Retired>),
    /// Nobody, ever.
    Nobody,
}

/// Whom `matches` means among the checks and those that are no more.
pub fn meant(matches: impl Fn(&str) -> bool, retired: &[Retired]) -> Meant<'_> {
    if let Some(check) = CHECKS.iter().find(|check| matches(check.id)) {
        return Meant::Check(check);
    }
    let gone: Vec<_> = retired.iter().filter(|retired| matches(retired.id)).collect();
    if gone.is_empty() { Meant::Nobody } else { Meant::Retired(gone) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GONE: Retired = Retired { id: "bridge-gone", since: "1.1.0", why: "bridge-missing tells it" };

    #[test]
    fn an_id_is_nobody_elses_ever_after() {
        assert!(RETIRED.is_sorted_by(|a, b| a.id < b.id), "sorted by id, each once");
        for Retired { id, since, why } in RETIRED {
            assert!(!CHECKS.iter().any(|check| check.id == *id), "{id} is used again");
            assert!(!since.is_empty() && !why.is_empty() && !why.ends_with('.'), "{id}");
        }
    }

    #[test]
    fn who_is_there_is_meant_before_who_is_gone() {
        let meant = |matches: fn(&str) -> bool| match super::meant(matches, &[GONE]) {
            Meant::Check(check) => check.id,
            Meant::Retired(gone) => gone[0].id,
            Meant::Nobody => "nobody",
        };
        assert_eq!(meant(|id| id == "bridge-gone"), "bridge-gone");
        assert_eq!(meant(|id| id.starts_with("bridge-")), "bridge-down");
        assert_eq!(meant(|id| id == "bridge-"), "nobody");
    }
}
