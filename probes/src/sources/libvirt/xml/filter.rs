//! `<filter>` (<https://libvirt.org/formatnwfilter.html>) and `<filterbinding>`.

use super::element::{Element, Error, document};

/// The names of the filters that a filter includes, in order, from what
/// `virNWFilterGetXMLDesc` returns.
pub fn includes(xml: &str) -> Result<Vec<String>, Error> {
    let document = document(xml, "filter")?;
    let root = document.root_element();
    root.children_named("filterref").map(|include| include.required("filter")).collect()
}

/// The name of the domain that a binding belongs to, from what
/// `virNWFilterBindingGetXMLDesc` returns.
pub fn binding_owner(xml: &str) -> Result<Option<String>, Error> {
    let document = document(xml, "filterbinding")?;
    let owner = document.root_element().child("owner");
    Ok(owner.and_then(|owner| owner.child_text("name")).map(str::to_owned))
}
