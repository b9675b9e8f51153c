//! Programs of the distribution that read the formats.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;

/// What the program says of this text; it fails the test if the program is not there or refuses the text.
pub(crate) fn read(program: &str, arguments: &[&str], package: &str, text: &str) -> String {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| {
        panic!("{program}: {error}: install {package}, or all that tests need: tests/lab/packages test")
    });
    let mut input = child.stdin.take().expect("a pipe");
    let bytes = text.to_owned();
    let writer = std::thread::spawn(move || input.write_all(bytes.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} refuses it, or {package} is missing (tests/lab/packages test installs it): {said}\n{text:.2000}"
    );
    writer.join().expect("it does not panic").expect("the program reads to the end");
    String::from_utf8(output.stdout).expect("it says text")
}

/// What Debian's own Python, which has Debian's packages, says of each text: `script` defines `read(text)`.
pub(crate) fn python<T: DeserializeOwned>(script: &str, package: &str, texts: &[String]) -> Vec<T> {
    let script = format!(
        "import json, sys\n{script}\nprint(json.dumps([read(text) for text in json.load(sys.stdin)]))"
    );
    let texts = serde_json::to_string(texts).expect("JSON");
    let said = read("/usr/bin/python3", &["-W", "ignore", "-c", &script], package, &texts);
    serde_json::from_str(&said).expect("JSON")
}
