//! `sysinfo`: appends what is known of the system that the program runs on.
//!
//! Owns: the keys and their values, asked for once. Never: changes a field that is there.

use super::constant::Constant;
use super::{Context, Filter, FilterContext, Outcome, Plugin};
use codecs::conf::values::Text;
use codecs::conf::{Diagnostics, Section};
use codecs::record::{Field, Record, Value};
use std::sync::Arc;

codecs::options! {
    /// Appends facts of the system that the program runs on; each is left out unless its key is set.
    pub struct Options {
        /// Key for the Fluent Bit version that this program is compatible with.
        fluentbit_version_key "fluentbit_version_key": Opt<Text>,
        /// Key for the name of the operating system (linux).
        os_name_key "os_name_key": Opt<Text>,
        /// Key for the host's name.
        hostname_key "hostname_key": Opt<Text>,
        /// Key for the version of the operating system, as `uname -v` prints it.
        os_version_key "os_version_key": Opt<Text>,
        /// Key for the release of the kernel, as `uname -r` prints it.
        kernel_version_key "kernel_version_key": Opt<Text>,
    }
}

/// The Fluent Bit version whose behaviour this program has.
const COMPATIBLE_VERSION: &str = "5.1.1";

/// Keys and values, in the order in which they are appended.
struct Facts(Vec<(Constant, Constant)>);

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "sysinfo", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Filter>> {
    let options = Options::read(section, context.name, diagnostics);
    let system = rustix::system::uname();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    let facts = [
        (options.fluentbit_version_key, COMPATIBLE_VERSION.to_owned()),
        (options.os_name_key, std::env::consts::OS.to_owned()),
        (options.hostname_key, text(system.nodename())),
        (options.os_version_key, text(system.version())),
        (options.kernel_version_key, text(system.release())),
    ];
    let facts = facts.into_iter().filter_map(|(key, value)| Some((key?.0, value)));
    let facts: Vec<_> = facts.map(|(key, value)| (Constant::new(&key), Constant::new(&value))).collect();
    if facts.is_empty() {
        diagnostics.warning(&section.span, format!("{}: no key is set: nothing is appended", context.name));
    }
    Some(Arc::new(Facts(facts)))
}

impl Filter for Facts {
    fn apply<'a>(&'a self, record: &mut Record<'a>, _context: &mut FilterContext<'a, '_>) -> Outcome<'a> {
        let fields = self.0.iter().map(|(key, value)| Field::new(key.text(), Value::Text(value.text())));
        record.fields.extend(fields);
        Outcome::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_all, configure, run};
    use super::*;
    use codecs::record::Timestamp;

    #[test]
    fn appends_what_is_asked_for_in_a_fixed_order() {
        check_all(
            &PLUGIN,
            &[
                ("", r#"{"a":1}"#, r#"{"a":1}"#),
                ("os_name_key os", r#"{"a":1}"#, r#"{"a":1,"os":"linux"}"#),
                ("os_name_key os\nfluentbit_version_key v", r#"{"os":"x"}"#, r#"{"v":"5.1.1","os":"linux"}"#),
            ],
        );
        let all = "kernel_version_key k\nos_version_key o\nhostname_key h";
        let (output, _) = run(&*configure(&PLUGIN, all), "{}", &mut Timestamp::default());
        let system = rustix::system::uname();
        let quoted = |s: &std::ffi::CStr| format!("\"{}\"", s.to_string_lossy());
        let want = format!(
            "{{\"h\":{},\"o\":{},\"k\":{}}}",
            quoted(system.nodename()),
            quoted(system.version()),
            quoted(system.release())
        );
        assert_eq!(output, Some(want));
    }
}
