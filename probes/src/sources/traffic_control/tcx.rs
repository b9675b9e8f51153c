//! Programs that are attached by tcx: they run before every tc filter, and rtnetlink does not show them.

use std::io;

use nix::net::if_::if_nameindex;

use crate::facts::{IfIndex, TcHook};
use crate::sources::Reading;
use crate::sys::tcx::{Place, programs};

/// Adds the programs of every device.
pub(super) fn add(reading: &mut Reading<Vec<TcHook>>) {
    if let Err(error) = collect(&mut reading.value) {
        let needs = if error.kind() == io::ErrorKind::PermissionDenied { " (needs CAP_NET_ADMIN)" } else { "" };
        reading.caveats.push(format!("programs attached by tcx: {error}{needs}"));
    }
}

fn collect(hooks: &mut Vec<TcHook>) -> io::Result<()> {
    for device in &if_nameindex()? {
        for (place, parent) in [(Place::Ingress, "ingress"), (Place::Egress, "egress")] {
            let ids = match programs(device.index(), place) {
                // The device has gone in the meantime.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => break,
                ids => ids?,
            };
            hooks.extend(ids.into_iter().map(|id| TcHook {
                device: IfIndex(device.index()),
                parent: parent.to_owned(),
                kind: "bpf".to_owned(),
                detail: Some(format!("tcx program id {id}")),
            }));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nix::sched::{CloneFlags, unshare};
    use nix::unistd::geteuid;

    use super::*;
    use crate::sys::tcx::testing::attach;

    #[test]
    #[expect(clippy::print_stdout, reason = "a skipped test says so")]
    fn a_program_is_found_where_it_is_attached() {
        if !geteuid().is_root() {
            assert_ne!(std::env::var("KVMNET_LAB").as_deref(), Ok("require"), "this test needs root");
            println!("skipped: needs root");
            return;
        }
        let host = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            // The loopback device, which every namespace has.
            attach(1, Place::Egress).unwrap();
            let mut hooks = Vec::new();
            collect(&mut hooks).unwrap();
            hooks
        });
        let hooks = host.join().unwrap();
        let [hook] = hooks.as_slice() else { panic!("{hooks:?}") };
        assert_eq!((hook.device, hook.parent.as_str(), hook.kind.as_str()), (IfIndex(1), "egress", "bpf"));
        assert!(hook.detail.as_deref().unwrap().starts_with("tcx program id "), "{hook:?}");
    }
}
