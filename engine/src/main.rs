//! The binary `ripsaw`.

fn main() {}
