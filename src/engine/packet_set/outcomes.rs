//! What rules do with packets, kept for as long as the fields that they read hold the same.

use std::collections::HashMap;
use std::rc::Rc;

use kvmnet_probes::facts::{Family, Hook, Rule};

use super::field::Field;
use super::headers::Headers;
use super::held::Held;
use super::rule::Outcome;
use crate::engine::scope::Scope;

/// What the fields held that a rule has read; `None`: they were as they came.
pub(super) type Read = Vec<(Field, Option<Held>)>;

/// The last outcome of each rule, by where the rule is in memory and where it is run.
#[derive(Debug, Default)]
pub(super) struct Outcomes<'a>(HashMap<(*const Rule, Family, Hook), (Read, Rc<Outcome<'a>>)>);

impl<'a> Outcomes<'a> {
    /// What the rule does, if it was run with such headers.
    pub(super) fn recall(&self, scope: Scope<'_>, rule: &Rule, headers: &Headers) -> Option<Rc<Outcome<'a>>> {
        let (read, outcome) = self.0.get(&(std::ptr::from_ref(rule), scope.family, scope.hook))?;
        let same = read.iter().all(|(field, held)| headers.holds(*field, held.as_ref()));
        same.then(|| Rc::clone(outcome))
    }

    /// Keeps what the rule does; not if that has other reasons than the fields of the packets, or if it writes.
    pub(super) fn keep(
        &mut self,
        scope: Scope<'_>,
        rule: &Rule,
        headers: &Headers,
        outcome: Outcome<'a>,
    ) -> Rc<Outcome<'a>> {
        let outcome = Rc::new(outcome);
        let translates = outcome.branches.iter().any(|branch| branch.nat.is_some());
        if let (Some(fields), None, false) = (&outcome.read, &outcome.headers, translates) {
            let read = fields.iter().map(|field| (*field, headers.written(*field))).collect();
            let key = (std::ptr::from_ref(rule), scope.family, scope.hook);
            self.0.insert(key, (read, Rc::clone(&outcome)));
        }
        outcome
    }
}
