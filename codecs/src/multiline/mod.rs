//! multiline
