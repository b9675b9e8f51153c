//! The diagnoses: what a site of the path means, and the hazards that facts alone show.
