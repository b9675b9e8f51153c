//! `nf_tables` registers whose bits are functions of the packet.

use kvmnet_probes::facts::Register;

use super::truth::Truth;

/// The 64 octets of register storage, bit by bit.
#[derive(Debug, Clone)]
pub(super) struct Registers(Vec<Truth>);

impl Registers {
    pub(super) fn new() -> Self {
        Self(vec![Truth::MAYBE; 512])
    }

    /// The first `octets` octets; unknown ones where a register does not exist.
    pub(super) fn read(&self, register: Register, octets: usize) -> Vec<Truth> {
        let from = register.offset().unwrap_or(64) * 8;
        (from..from + octets.min(64) * 8).map(|at| self.0.get(at).copied().unwrap_or(Truth::MAYBE)).collect()
    }

    /// Writes, and fills up the last word with zeros as loads do.
    pub(super) fn write(&mut self, register: Register, bits: &[Truth]) {
        let Some(from) = register.offset() else { return };
        let padding = (32 - bits.len() % 32) % 32;
        let padded = bits.iter().copied().chain(std::iter::repeat_n(Truth::NO, padding));
        for (place, bit) in self.0.iter_mut().skip(from * 8).zip(padded) {
            *place = bit;
        }
    }

    /// The register now holds what nobody knows.
    pub(super) fn forget(&mut self, register: Register) {
        self.write(register, &[Truth::MAYBE; 128]);
    }
}
