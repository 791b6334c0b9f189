//! Tests of tail, with a double of the engine.
