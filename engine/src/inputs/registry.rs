//! Every input there is, in documentation order.

use super::Plugin;

/// The inputs. Adding one is its file and one line here.
pub static INPUTS: &[&dyn Plugin] = &[&super::tail::PLUGIN, &super::stdin::PLUGIN, &super::dummy::PLUGIN];

/// The input of this name, in any case.
pub fn find(name: &str) -> Option<&'static dyn Plugin> {
    INPUTS.iter().copied().find(|p| p.name().eq_ignore_ascii_case(name))
}
