//! Every filter there is, in documentation order.

use super::{
    Plugin, expect, grep, kubernetes, lua, modify, multiline, nest, parser, record_modifier, rewrite_tag,
    sysinfo, throttle, type_converter,
};

/// The filters. Adding one is its file and one line here.
pub static FILTERS: &[&Plugin] = &[
    &expect::PLUGIN,
    &grep::PLUGIN,
    &kubernetes::PLUGIN,
    &lua::PLUGIN,
    &modify::PLUGIN,
    &multiline::PLUGIN,
    &nest::PLUGIN,
    &parser::PLUGIN,
    &record_modifier::PLUGIN,
    &rewrite_tag::PLUGIN,
    &sysinfo::PLUGIN,
    &throttle::PLUGIN,
    &type_converter::PLUGIN,
];

/// The filter of this name, in any case.
pub fn find(name: &str) -> Option<&'static Plugin> {
    Plugin::find(FILTERS, name)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{run, try_configure};
    use super::*;
    use codecs::record::Timestamp;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn names_are_found_in_any_case_and_stand_once() {
        for plugin in FILTERS {
            let found = find(&plugin.name.to_ascii_uppercase()).expect("its own name finds it");
            assert_eq!(found.name, plugin.name);
            assert_eq!(FILTERS.iter().filter(|p| p.name == plugin.name).count(), 1);
            assert!(!plugin.about.is_empty() && plugin.tables.iter().all(|t| !t.is_empty()));
        }
        assert!(find("absent").is_none());
    }

    /// Words that options take, right and wrong ones.
    const WORDS: &[&str] = &[
        "a",
        "b",
        "$a",
        "$a['b']",
        "$a[0]",
        "a.b",
        "^a",
        "(",
        "\\",
        "\"a b\"",
        "'",
        "a*",
        "*",
        "nest",
        "lift",
        "and",
        "true",
        "Key_exists",
        "No_key_matches",
        "Key_value_equals",
        "Matching_keys_have_matching_values",
        "x.$TAG[1].$1",
        "é",
        "",
    ];
    const RECORDS: &[&str] = &[
        "{}",
        r#"{"a":"a b","b":{"a":[1,{"b":"x"}],"c":null},"a.b":true}"#,
        r#"{"a":{"b":"\u00e9\""},"é":[]}"#,
    ];

    fn lines(plugin: &'static Plugin) -> impl Strategy<Value = String> {
        let keys: Vec<&str> = plugin.tables.iter().copied().flatten().map(|spec| spec.name).collect();
        let words = prop::collection::vec(prop::sample::select(WORDS), 1..5).prop_map(|w| w.join(" "));
        let line = (prop::sample::select(keys), words).prop_map(|(key, words)| format!("{key} {words}"));
        prop::collection::vec(line, 0..5).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        /// Any configuration is read or refused, and what was read takes any record and leaves valid JSON of it.
        #[test]
        fn no_configuration_and_no_record_breaks_a_filter(
            (at, lines) in (0..FILTERS.len()).prop_flat_map(|at| (Just(at), lines(FILTERS[at])))
        ) {
            let plugin = FILTERS[at];
            let (filter, diagnostics) = try_configure(plugin, &lines, &HashMap::new());
            prop_assert!(filter.is_some() || diagnostics.has_errors(), "refused without a word");
            for record in filter.iter().flat_map(|_| RECORDS) {
                let (output, _) = run(&**filter.as_ref().expect("it was made"), record, &mut Timestamp::default());
                prop_assert!(output.is_none_or(|json| json.starts_with('{') && json.ends_with('}')), "not a map");
            }
        }
    }
}
