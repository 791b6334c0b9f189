//! Network options common to all outputs.
