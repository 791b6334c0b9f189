//! Every filter there is, in documentation order.

use super::{Plugin, grep, modify, nest, parser, record_modifier, rewrite_tag};

/// The filters. Adding one is its file and one line here.
pub static FILTERS: &[&dyn Plugin] = &[
    &grep::PLUGIN,
    &modify::PLUGIN,
    &nest::PLUGIN,
    &parser::PLUGIN,
    &record_modifier::PLUGIN,
    &rewrite_tag::PLUGIN,
];

/// The filter of this name, in any case.
pub fn find(name: &str) -> Option<&'static dyn Plugin> {
    FILTERS.iter().copied().find(|p| p.name().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_stand_once() {
        for plugin in FILTERS {
            let found = find(&plugin.name().to_ascii_uppercase()).expect("its own name finds it");
            assert_eq!(found.name(), plugin.name());
            assert_eq!(FILTERS.iter().filter(|p| p.name() == plugin.name()).count(), 1);
            assert!(!plugin.about().is_empty() && plugin.tables().iter().all(|t| !t.is_empty()));
        }
        assert!(find("absent").is_none());
    }
}
