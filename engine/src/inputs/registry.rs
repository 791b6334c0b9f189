//! Every input there is, in documentation order.

use super::{Plugin, dummy, stdin, tail};

/// The inputs. Adding one is its file and one line here.
pub static INPUTS: &[&dyn Plugin] = &[&tail::PLUGIN, &stdin::PLUGIN, &dummy::PLUGIN];

/// The input of this name, in any case.
pub fn find(name: &str) -> Option<&'static dyn Plugin> {
    INPUTS.iter().copied().find(|p| p.name().eq_ignore_ascii_case(name))
}
