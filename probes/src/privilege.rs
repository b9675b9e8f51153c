//! What this process may do, and how it gives that up.
//!
//! Capabilities belong to a thread; kvmnet has one. Root has them by its user id, which gains them again with
//! every program that it starts: unless no new privileges may be gained, which is the first thing that is seen to.
//!
//! Invariants: what is read from a guest's packets is read without an effective capability; a program that is
//! started has no more than what asking libvirt may take.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// A capability that kvmnet uses, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// Its name.
    pub name: &'static str,
    /// What cannot be read or tried without it.
    pub purpose: &'static str,
    capability: CapabilitySet,
}

/// Every capability that reading the host and sending packets can take.
pub const USES: [Use; 6] = [
    Use {
        name: "CAP_NET_ADMIN",
        purpose: "netfilter rules, tcx programs, packets sent as a VM or in its place",
        capability: CapabilitySet::NET_ADMIN,
    },
    Use { name: "CAP_NET_RAW", purpose: "any packet sent or watched", capability: CapabilitySet::NET_RAW },
    Use { name: "CAP_BPF", purpose: "packets sent as a VM", capability: CapabilitySet::BPF },
    Use {
        name: "CAP_SYS_ADMIN",
        purpose: "packets sent as a VM whose tap runs an XDP program",
        capability: CapabilitySet::SYS_ADMIN,
    },
    Use {
        name: "CAP_SYS_PTRACE",
        purpose: "which process serves DHCP and DNS",
        capability: CapabilitySet::SYS_PTRACE,
    },
    Use {
        name: "CAP_DAC_READ_SEARCH",
        purpose: "files of others, the list of legacy tables among them",
        capability: CapabilitySet::DAC_READ_SEARCH,
    },
];

/// Without these nothing can be sent as a VM.
const SENDING: CapabilitySet =
    CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_RAW).union(CapabilitySet::BPF);

/// What root needs to replace a file in somebody else's directory, as it always could.
const WRITING: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::FOWNER);

/// What the helper that asks libvirt keeps: a test driver's description may lie in somebody's home.
const FOR_LIBVIRT: CapabilitySet = CapabilitySet::DAC_READ_SEARCH;

/// The capabilities of this process.
#[derive(Debug)]
pub struct Privileges {
    /// What it had in the beginning.
    had: CapabilitySet,
}

impl Privileges {
    /// Gives up for good what reading and sending never take; with `writes`, what writing files in others'
    /// directories takes is kept, out of effect until [`Self::write`]. From now on no program gains anything by
    /// being started.
    ///
    /// # Errors
    /// The kernel refuses, as only a seccomp filter makes it.
    pub fn confine(writes: bool) -> io::Result<Self> {
        let had = capabilities(None)?.permitted;
        if had.contains(CapabilitySet::SETPCAP) {
            // The last one that the kernel knows is followed by EINVAL.
            for capability in (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit)) {
                if !FOR_LIBVIRT.contains(capability)
                    && remove_capability_from_bounding_set(capability).is_err()
                {
                    break;
                }
            }
        }
        set_no_new_privs(true)?;
        let kept = used() | if writes { WRITING } else { CapabilitySet::empty() };
        // What is not inheritable is not ambient either.
        set(had & used(), had & kept)?;
        Ok(Self { had })
    }

    /// Takes every capability out of effect until the guard is dropped: nothing that is needed meanwhile takes
    /// one.
    ///
    /// # Errors
    /// As [`Self::confine`].
    pub fn rest(&self) -> io::Result<Resting<'_>> {
        set(CapabilitySet::empty(), capabilities(None)?.permitted)?;
        Ok(Resting(self))
    }

    /// Gives up for good what reading and sending take: nothing more is read and no socket opened.
    ///
    /// # Errors
    /// As [`Self::confine`].
    pub fn give_up(&self) -> io::Result<()> {
        set(CapabilitySet::empty(), capabilities(None)?.permitted & WRITING)
    }

    /// Puts into effect what writing files takes, if it was kept, for the rest of the program.
    ///
    /// # Errors
    /// As [`Self::confine`].
    pub fn write(&self) -> io::Result<()> {
        let kept = capabilities(None)?.permitted & WRITING;
        set(kept, kept)
    }

    /// The capabilities that this process did not have in the beginning and that what could not be read or tried
    /// takes, by the `reasons`, which name them. Where something could not be sent, all that sending takes.
    pub fn lacking<'a>(&self, reasons: impl IntoIterator<Item = &'a str>) -> Vec<Use> {
        let mut named = CapabilitySet::empty();
        for reason in reasons {
            for needed in USES.iter().filter(|needed| reason.contains(needed.name)) {
                named |= needed.capability;
            }
        }
        if named.intersects(CapabilitySet::NET_RAW | CapabilitySet::BPF) {
            named |= SENDING;
        }
        let mut had = self.had;
        if had.contains(CapabilitySet::SYS_ADMIN) {
            // It still is what it was before Linux 5.8, when CAP_BPF came.
            had |= CapabilitySet::BPF;
        }
        USES.into_iter().filter(|needed| (named - had).contains(needed.capability)).collect()
    }
}

/// While this lives no capability is in effect.
#[derive(Debug)]
pub struct Resting<'a>(&'a Privileges);

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        // What is permitted can always be put into effect; if not, what takes it says so.
        let _ = capabilities(None).and_then(|now| {
            let sets = CapabilitySets { effective: self.0.had & used() & now.permitted, ..now };
            set_capabilities(None, sets)
        });
    }
}

/// Gives up, for good, all but what asking libvirt may take.
///
/// # Errors
/// As [`Privileges::confine`].
pub fn keep_for_libvirt() -> io::Result<()> {
    set_no_new_privs(true)?;
    let kept = capabilities(None)?.permitted & FOR_LIBVIRT;
    set(kept, kept)
}

/// The same in a process that is about to become another program: makes system calls and nothing else.
pub(crate) fn pass_on_for_libvirt() -> io::Result<()> {
    keep_for_libvirt()?;
    let CapabilitySets { effective, permitted, .. } = capabilities(None)?;
    set_capabilities(None, CapabilitySets { effective, permitted, inheritable: permitted })?;
    // Users other than root keep over exec only what is ambient.
    if permitted.contains(FOR_LIBVIRT) {
        configure_capability_in_ambient_set(FOR_LIBVIRT, true)?;
    }
    Ok(())
}

/// Everything in [`USES`].
fn used() -> CapabilitySet {
    USES.iter().fold(CapabilitySet::empty(), |all, one| all | one.capability)
}

/// Leaves the process these, of which it must have all already, and nothing to inherit.
fn set(effective: CapabilitySet, permitted: CapabilitySet) -> io::Result<()> {
    let inheritable = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective, permitted, inheritable })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_effect() -> CapabilitySet {
        capabilities(None).unwrap().effective
    }

    /// A thread of its own: what is given up is gone with it.
    fn in_a_thread<T: Send>(test: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(test).join().unwrap())
    }

    #[test]
    fn what_is_given_up_does_not_come_back() {
        in_a_thread(|| {
            let before = capabilities(None).unwrap().permitted;
            let privileges = Privileges::confine(true).unwrap();
            assert_eq!(in_effect(), before & used());
            let resting = privileges.rest().unwrap();
            assert_eq!(in_effect(), CapabilitySet::empty());
            drop(resting);
            assert_eq!(in_effect(), before & used());
            let resting = privileges.rest().unwrap();
            privileges.give_up().unwrap();
            drop(resting);
            assert_eq!(in_effect(), CapabilitySet::empty());
            privileges.write().unwrap();
            assert_eq!(in_effect(), before & WRITING);
            assert_eq!(capabilities(None).unwrap().permitted, before & WRITING);
        });
    }

    #[test]
    fn what_is_not_kept_for_writing_is_gone_from_the_start() {
        in_a_thread(|| {
            let privileges = Privileges::confine(false).unwrap();
            privileges.write().unwrap();
            assert_eq!(in_effect(), CapabilitySet::empty());
        });
    }

    #[test]
    fn lacking_is_what_the_reasons_name_and_the_process_had_not() {
        let lacking = |had, reasons: &[&str]| {
            let needed = Privileges { had }.lacking(reasons.iter().copied());
            needed.iter().map(|needed| needed.name).collect::<Vec<_>>()
        };
        let (none, all) = (CapabilitySet::empty(), used());
        assert_eq!(lacking(none, &["the daemon does not run"]), [""; 0]);
        assert_eq!(lacking(none, &["needs CAP_SYS_PTRACE"]), ["CAP_SYS_PTRACE"]);
        // Who gets the one would miss the others next.
        let sending = ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF"];
        assert_eq!(lacking(none, &["watching packets needs CAP_NET_RAW"]), sending);
        assert_eq!(lacking(CapabilitySet::SYS_ADMIN, &["needs CAP_BPF"]), ["CAP_NET_ADMIN", "CAP_NET_RAW"]);
        assert_eq!(lacking(all, &["needs CAP_BPF and CAP_NET_ADMIN"]), [""; 0]);
    }
}
