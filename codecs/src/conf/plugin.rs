//! What a registry holds of a plugin.

use super::OptionSpec;

/// A plugin: its name, its options, and how an instance is made of a section. `C` is the function that makes it; it
/// reads the section and checks everything that needs no I/O, reports all that is wrong, and returns `None` when an
/// error was among it. It is called in dry-run too.
#[derive(Debug)]
pub struct Plugin<C: 'static> {
    /// Name as in `Name tail`.
    pub name: &'static str,
    /// One sentence and more, for `--help`.
    pub about: &'static str,
    /// Its option tables: its own, and those that it shares with others (`net`, `tls`, …).
    pub tables: &'static [&'static [OptionSpec]],
    /// Makes an instance.
    pub configure: C,
}

impl<C> Plugin<C> {
    /// The plugin of this name among these, in any case.
    pub fn find<'p>(plugins: &[&'p Plugin<C>], name: &str) -> Option<&'p Plugin<C>> {
        plugins.iter().copied().find(|plugin| plugin.name.eq_ignore_ascii_case(name))
    }
}
