//! Exit codes, and how the program ends when it does not end well.

use std::any::Any;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::process::ExitCode;

use kvmnet_reports::Verdict;
use kvmnet_reports::formats::Renderer;
use kvmnet_reports::text::printable_prose;

use super::failure::Failure;
use super::output::Destination;

/// Everything is as intended.
pub(crate) const VERIFIED: u8 = Verdict::Verified.exit_code();
/// Something is not as intended.
pub(crate) const GAPS: u8 = Verdict::Gaps.exit_code();
/// The arguments, or a file that they name, cannot be used.
pub(crate) const USAGE: u8 = 2;
/// Something could not be read or tried.
pub(crate) const INCOMPLETE: u8 = Verdict::Incomplete.exit_code();
/// kvmnet is wrong.
pub(crate) const BUG: u8 = 70;

/// What each exit code means, for `--help` and the reference.
pub(crate) const CODES: [(u8, &str); 5] = [
    (VERIFIED, "verified: everything is as intended"),
    (GAPS, "gaps: something is not as intended (also if something else could not be read)"),
    (USAGE, "the arguments, or a file that they name, cannot be used"),
    (INCOMPLETE, "incomplete: nothing is known to be wrong, but something could not be read or tried"),
    (BUG, "a bug in kvmnet"),
];

/// A text for `--help` with the exit codes after it.
pub(crate) fn with_codes(text: &str) -> String {
    with_own_codes(text, &CODES)
}

/// The same with exit codes that mean something else.
pub(crate) fn with_own_codes(text: &str, codes: &[(u8, &str)]) -> String {
    let codes: Vec<_> = codes.iter().map(|(code, meaning)| format!("  {code:<3} {meaning}")).collect();
    format!("{text}\n\nExit codes:\n{}", codes.join("\n"))
}

/// Runs `main`; a panic in it is a bug that is told as one.
pub(crate) fn guard(main: impl FnOnce() -> ExitCode) -> ExitCode {
    panic::set_hook(Box::new(report_bug));
    panic::catch_unwind(AssertUnwindSafe(main)).unwrap_or(ExitCode::from(BUG))
}

fn report_bug(info: &PanicHookInfo<'_>) {
    let what = panic_message(info.payload());
    let place =
        info.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
    let backtrace = std::backtrace::Backtrace::capture();
    let mut text = format!("error: this is a bug in kvmnet: {}{place}\n", printable_prose(what));
    if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
        let _ = writeln!(text, "{backtrace}");
    }
    text += concat!(
        "\nhint: please report it, for kvmnet ",
        env!("CARGO_PKG_VERSION"),
        ",\n      with the command line and, if it can be taken, `kvmnet snapshot --anonymize`\n"
    );
    tell(&text);
}

fn panic_message(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Ends after arguments that cannot be used, or after `--help`.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // A closed standard output or error leaves nobody to tell.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

/// What failed, on what and why.
fn reason(error: &anyhow::Error) -> String {
    let chain: Vec<_> = error.chain().map(ToString::to_string).collect();
    printable_prose(&chain.join(": ")).into_owned()
}

/// Tells of a failure where the reader of this form looks for it, if that is not where others do.
pub(crate) fn failed(error: anyhow::Error, renderer: &Renderer) -> anyhow::Result<ExitCode> {
    let Some((text, code)) = renderer.failed(&reason(&error)) else { return Err(error) };
    Destination::Stdout.deliver(text.as_bytes(), false)?;
    Ok(ExitCode::from(code))
}

/// Tells what failed, on what and why, and what may help.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    if let Some(error) = error.downcast_ref() {
        return usage(error);
    }
    tell_failure(error);
    ExitCode::from(error.downcast_ref().map_or(USAGE, Failure::exit_code))
}

/// The same of what does not end the program.
pub(crate) fn tell_failure(error: &anyhow::Error) {
    let mut text = format!("error: {}\n", reason(error));
    let failure = error.downcast_ref::<Failure>();
    for line in failure.map(Failure::place).unwrap_or_default() {
        let _ = writeln!(text, "{}", printable_prose(line));
    }
    if let Some(hint) = failure.and_then(Failure::hint) {
        let _ = writeln!(text, "\nhint: {hint}");
    }
    tell(&text);
}

/// Writes to standard error. If that is closed, nobody is left to tell.
pub(crate) fn tell(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_bug_with_its_own_exit_code() {
        let hook = panic::take_hook();
        let code = guard(|| panic!("on \u{1b}purpose"));
        panic::set_hook(hook);
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(BUG)));
    }

    #[test]
    fn every_exit_code_is_told() {
        let text = with_codes("Examples:");
        for code in [VERIFIED, GAPS, USAGE, INCOMPLETE, BUG] {
            assert!(text.contains(&format!("\n  {code} ")), "{text}");
        }
    }
}
