//! Every filter there is.
use super::Plugin;
/// The filters.
pub static FILTERS: &[&dyn Plugin] = &[];
/// The filter of this name, in any case.
pub fn find(name: &str) -> Option<&'static dyn Plugin> {
    FILTERS.iter().copied().find(|p| p.name().eq_ignore_ascii_case(name))
}
