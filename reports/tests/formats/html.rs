//! The page for a browser, read by Chromium in a network namespace where nothing is up.
//!
//! `KVMNET_SCREENSHOTS=DIRECTORY` keeps pictures of what it shows.

use kvmnet_reports::Report;
use serde_json::{Value, json};

use crate::consumer;
use crate::hosts::{broken, healthy, hostile, hundred, invaded, invasions, many, policed, thousand, unknown};
use crate::{all_hosts, render};

const SCRIPT: &str = include_str!("browser.py");

/// What the browser says of each page.
fn read(pages: &[(&str, String)]) -> Vec<Value> {
    let pages: Vec<_> = pages.iter().map(|(name, html)| json!({ "name": name, "html": html })).collect();
    let arguments = ["--map-root-user", "--net", "/usr/bin/python3", "-c", SCRIPT];
    let said = consumer::read("unshare", &arguments, "chromium", &Value::from(pages).to_string());
    serde_json::from_str(&said).expect("JSON")
}

/// The page is without a fault; its outline.
fn sound(page: &Value) -> &Value {
    assert_eq!(page["problems"], json!([]), "{:#}", page["problems"]);
    &page["outline"]
}

fn number(page: &Value, what: &str) -> u64 {
    page[what].as_u64().unwrap_or_else(|| panic!("no {what}"))
}

#[test]
#[expect(clippy::print_stderr, reason = "figures for whoever asks for them")]
fn a_browser_finds_no_fault_and_the_page_stays_small() {
    // Octets and elements that a page may have.
    let hosts: [(&str, Report, usize, u64); 8] = [
        ("lab", broken(), 80_000, 2_500),
        ("healthy", healthy(), 80_000, 2_500),
        ("unknown", unknown(), 80_000, 2_500),
        ("policed", policed(), 100_000, 3_000),
        ("hundred", hundred(), 300_000, 8_000),
        ("thousand", many(40, 25), 1_000_000, 30_000),
        ("alike", thousand(), 100_000, 3_000),
        ("hostile", hostile(), 100_000, 3_000),
    ];
    let pages: Vec<_> = hosts.iter().map(|(name, report, ..)| (*name, render("html", report))).collect();
    for ((name, _, octets, elements), (page, said)) in hosts.iter().zip(pages.iter().zip(read(&pages))) {
        let (length, number) = (page.1.len(), number(&said, "elements"));
        eprintln!("{name}: {length} octets, {number} elements, {} ms", said["load_ms"]);
        sound(&said);
        assert!(length < *octets && number < *elements, "{name}: {length} octets, {number} elements");
    }
}

/// Whatever a guest writes, the page has the elements and attributes that it has for a harmless name.
#[test]
fn nothing_that_a_guest_writes_becomes_markup() {
    let hosts: Vec<_> = std::iter::once(invaded("web1")).chain(invasions()).collect();
    let pages: Vec<_> = hosts.iter().map(|report| ("", render("html", report))).collect();
    let said = read(&pages);
    let usual = sound(&said[0]);
    for (page, (_, html)) in said.iter().zip(&pages) {
        let (outline, usual) = (outline(sound(page)), outline(usual));
        assert_eq!(outline, usual, "{html}");
    }
}

/// The elements that a text may bring or not: code between backticks.
fn outline(elements: &Value) -> Vec<&str> {
    let elements = elements.as_array().expect("a list").iter().filter_map(Value::as_str);
    elements.filter(|element| *element != "code").collect()
}

/// What would find a fault finds one.
#[test]
fn faults_are_seen() {
    let page = |body: &str| ("", format!("<!DOCTYPE html><html lang=en><title>x</title>{body}"));
    let policy = "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\">";
    let faulty = [
        ("exception", "<script>throw new Error('x')</script>".to_owned()),
        ("log", format!("{policy}<style>p{{color:red}}</style>")),
        ("request", "<img src='http://192.0.2.1/x.png' alt=x>".to_owned()),
        ("foreign", "<a href='https://example.org'>x</a>".to_owned()),
        ("too wide", "<p style='width:2000px'>x</p>".to_owned()),
        ("shows", "<div class=matrix><button class=bad popovertarget=x>x</button></div>".to_owned()),
        ("dead link", "<a href='#x'>x</a>".to_owned()),
        ("not printed", "<details><summary>x</summary><p>y</p></details>".to_owned()),
    ];
    let pages: Vec<_> = faulty.iter().map(|(_, body)| page(body)).collect();
    for ((fault, _), said) in faulty.iter().zip(read(&pages)) {
        assert!(said["problems"].to_string().contains(fault), "{fault}: {:#}", said["problems"]);
    }
}

/// The policy names the hashes of the page's own style and script, so that nothing else is applied or run.
#[test]
fn the_hashes_are_those_of_style_and_script() {
    let script = "
import base64, hashlib, re
def read(text):
    own = re.findall(r'<(?:style|script)>(.*?)</(?:style|script)>', text, re.S)
    return [\"'sha256-\" + base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() + \"'\" for part in own]
";
    let page = render("html", &policed());
    let said = consumer::python::<Value>(script, "python3", std::slice::from_ref(&page)).remove(0);
    let policy =
        page.split("Content-Security-Policy\" content=\"").nth(1).and_then(|rest| rest.split('"').next());
    let policy = policy.expect("a policy").replace("&#39;", "'");
    let hashes: Vec<_> = policy.split([' ', ';']).filter(|word| word.starts_with("'sha")).collect();
    assert_eq!(json!(hashes), said, "the hashes at the head of formats/html.rs");
}

/// Whatever else a report holds, its page is of one piece.
#[test]
fn every_page_is_one_document_without_a_reference() {
    for report in all_hosts() {
        let page = render("html", &report);
        for (text, number) in [("<!DOCTYPE html>", 1), ("<script", 1), ("</html>", 1), ("<style>", 2)] {
            assert_eq!(page.matches(text).count(), number, "{text}: {page}");
        }
    }
    // Of the others the browser says so: there the text may name what no markup does.
    for report in [healthy(), broken(), unknown(), policed(), hundred(), thousand()] {
        let page = render("html", &report);
        let own = page.replace("http://www.w3.org/2000/svg", "").replace("https://example.org", "");
        for text in ["src=", "http://", "https://", "url(", "@import"] {
            assert!(!own.contains(text), "{text}");
        }
    }
}
