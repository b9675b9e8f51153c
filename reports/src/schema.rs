//! The JSON Schema of the report, generated from its types.

use schemars::Schema;

use crate::Report;

/// The JSON Schema of [`Report`]; `docs/report.schema.json` is its copy for readers.
pub fn schema() -> Schema {
    schemars::schema_for!(Report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_in_docs_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/report.schema.json");
        let fresh = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        if std::env::var_os("KVMNET_UPDATE").is_some() {
            std::fs::write(path, &fresh).unwrap();
        }
        let copy = std::fs::read_to_string(path).unwrap_or_default();
        assert!(copy == fresh, "docs/report.schema.json is stale: run the tests with KVMNET_UPDATE=1");
    }
}
