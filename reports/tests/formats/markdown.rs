//! Markdown, read by cmark-gfm with the extensions that GitHub uses.

use insta::assert_snapshot;
use kvmnet_reports::Report;

use crate::consumer;
use crate::hosts::{PAYLOADS, healthy, hostile, invaded, policed, unknown};
use crate::{all_hosts, render};

/// The document as a tree, in CommonMark's XML.
fn tree(report: &Report) -> String {
    let extensions = ["table", "strikethrough", "autolink", "tasklist"].map(|name| ["-e", name]).concat();
    let arguments = [&["--to", "xml", "--unsafe"], &extensions[..]].concat();
    consumer::read("cmark-gfm", &arguments, "cmark-gfm", &render("markdown", report))
}

fn number(tree: &str, element: &str) -> usize {
    [format!("<{element} "), format!("<{element}>")]
        .iter()
        .map(|start| tree.matches(start.as_str()).count())
        .sum()
}

#[test]
fn nothing_is_raw_html_a_link_or_of_a_form_that_is_not_ours() {
    for report in all_hosts() {
        let tree = tree(&report);
        let strange = [
            "html_block",
            "html_inline",
            "link",
            "image",
            "emph",
            "strikethrough",
            "block_quote",
            "thematic_break",
            "footnote_reference",
            "taskitem",
            "custom_block",
            "softbreak",
            "linebreak",
        ];
        for element in strange {
            assert_eq!(number(&tree, element), 0, "{element}: {}\n{tree}", render("markdown", &report));
        }
    }
}

/// What a guest writes changes no heading, no table, no list and no fence.
#[test]
fn the_shape_is_that_of_the_report() {
    let shape = |report: &Report| {
        let tree = tree(report);
        ["heading", "table", "table_row", "table_cell", "list", "code_block"]
            .map(|element| number(&tree, element))
    };
    let mut shapes: Vec<_> = PAYLOADS.iter().map(|text| shape(&invaded(text))).collect();
    shapes.dedup();
    assert_eq!(shapes, [shape(&invaded("web1"))]);
}

/// Mentions, issues, addresses and formulas are made of text after Markdown was read: in code they are not.
#[test]
fn what_a_forge_would_bring_to_life_is_code() {
    for payload in PAYLOADS {
        for line in tree(&invaded(payload)).lines().filter(|line| line.contains("<text ")) {
            let text = line.split_once('>').map_or("", |(_, text)| text).replace("&lt;", "<");
            let alive =
                ["@", "#1", "$", "http://", "https://", "www."].iter().any(|sign| text.contains(sign));
            assert!(!alive, "{line}");
        }
    }
}

#[test]
fn commands_come_out_as_they_are() {
    let report = policed();
    let tree = tree(&report);
    for command in report.findings.iter().flat_map(|finding| &finding.fix.commands) {
        assert!(tree.contains(command.as_str()), "{command}: {tree}");
    }
    assert!(tree.contains("info=\"sh\""));
}

#[test]
fn policed_host() {
    assert_snapshot!(render("markdown", &policed()));
}

#[test]
fn healthy_host() {
    assert_snapshot!(render("markdown", &healthy()));
}

#[test]
fn unknown_host() {
    assert_snapshot!(render("markdown", &unknown()));
}

#[test]
fn hostile_names() {
    assert_snapshot!(render("markdown", &hostile()));
}
