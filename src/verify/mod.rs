//! From a snapshot and what the wire showed to a report.
