//! What becomes of all packets from one zone to another: where which of them are stopped.

use super::packet_set::{Bdd, Decided, PacketSet, Undecided};
use super::path::{Engine, NODES};
use super::proof::Arrival;
use super::walk::Taken;
use super::{Decision, Step};
use crate::model::Claim;

/// All packets that go one way, and what becomes of them. Sets are told as rules would match them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The packets that go this way, if nothing stops them.
    pub asked: String,
    /// Those that surely arrive.
    pub arrive: Option<String>,
    /// Those of them whose answers come back, if not all do.
    pub answered: Option<String>,
    /// Those that may arrive or not.
    pub undecided: Option<String>,
    /// What stops packets or leaves them undecided, in the order met, and which. A packet can be stopped at
    /// several places.
    pub stops: Vec<(Step, String)>,
}

impl Engine<'_> {
    /// What becomes of all packets between the ends of the claim, one survey for each way; `None` if they
    /// cannot be followed: what the host itself sends or receives, or a NIC that no bridge carries.
    pub fn survey(&mut self, claim: &Claim) -> Result<Option<Vec<Survey>>, Undecided> {
        self.host.sets.allow(NODES);
        let surveyed = self.surveyed(claim);
        if surveyed.is_err() {
            self.forget();
        }
        surveyed
    }

    fn surveyed(&mut self, claim: &Claim) -> Decided<Option<Vec<Survey>>> {
        let Some(arrivals) = self.arrivals(claim, true)? else { return Ok(None) };
        let surveys = arrivals.into_iter().map(|arrival| self.survey_of(arrival));
        surveys.collect::<Decided<_>>().map(Some)
    }

    fn survey_of(&mut self, arrival: Arrival) -> Decided<Survey> {
        let Arrival { family, asked, may, surely, answered, taken } = arrival;
        let mut stops = Vec::new();
        for Taken { step, packets, .. } in taken {
            let packets = self.host.sets.and(packets, asked)?;
            if !matches!(step.decision, Decision::Pass | Decision::Rewrite) && packets != Bdd::NONE {
                stops.push((step, self.words(family, packets)?));
            }
        }
        let undecided = self.host.sets.minus(may, surely)?;
        let mut some =
            |packets: PacketSet| (packets != Bdd::NONE).then(|| self.words(family, packets)).transpose();
        Ok(Survey {
            asked: some(asked)?.unwrap_or_default(),
            arrive: some(surely)?,
            answered: if answered == surely { None } else { Some(some(answered)?.unwrap_or_default()) },
            undecided: some(undecided)?,
            stops,
        })
    }
}
