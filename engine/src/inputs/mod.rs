//! Inputs: what reads or listens. Each hands whole blocks to the shards and never looks inside a record.
