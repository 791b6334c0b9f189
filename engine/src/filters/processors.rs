//! Processors: filters and more in the `processors` of one input or output.
//!
//! Owns: which plugins may stand there, and what is said of those that may not. Only logs pass here, so lists of `metrics`
//! and `traces` do nothing.

use super::{Plugin, Reported, content_modifier, registry};
use codecs::conf::{Diagnostics, Section, nearest};

/// The processors that are not filters. Adding one is its file and one line here.
pub static PROCESSORS: &[&Plugin] = &[&content_modifier::PLUGIN];

/// Fluent Bit's other processors, and why each does nothing or is refused.
const OTHERS: &[(&str, Other)] = &[
    ("cumulative_to_delta", Other::Idle),
    ("labels", Other::Idle),
    ("metrics_selector", Other::Idle),
    ("sampling", Other::Idle),
    ("tda", Other::Idle),
    ("opentelemetry_envelope", Other::Refused("records here have no OpenTelemetry groups")),
    ("sql", Other::Refused("use the filters grep, modify and record_modifier")),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Other {
    /// It takes metrics or traces only.
    Idle,
    Refused(&'static str),
}

/// The plugin of a processor's section; `Ok(None)` where it would see nothing, which is told.
pub fn named(section: &Section, diagnostics: &mut Diagnostics) -> Result<Option<&'static Plugin>, Reported> {
    let Some(entry) = section.get("name") else {
        diagnostics.error(&section.span, "processor without `name`");
        return Err(Reported);
    };
    let name = entry.value.to_ascii_lowercase();
    let own = PROCESSORS.iter().copied().find(|p| p.name == name);
    let plugin = registry::find(&name).or(own);
    let other = OTHERS.iter().find(|(n, _)| *n == name).map(|(_, other)| *other);
    let kind = section.name.strip_prefix("processor.").unwrap_or("logs");
    match (plugin, other) {
        (None, None) => {
            let names = registry::FILTERS.iter().chain(PROCESSORS).map(|p| p.name);
            let near = nearest(&name, names);
            let error = diagnostics.error(&entry.value_span, format!("unknown processor `{}`", entry.value));
            if let Some(near) = near {
                error.help(format!("did you mean `{near}`?"));
            }
            Err(Reported)
        }
        _ if kind != "logs" => {
            let message = format!("processor {name} has no effect: there are no {kind} here, only logs");
            diagnostics.note(&section.span, message);
            Ok(None)
        }
        (Some(plugin), _) => Ok(Some(plugin)),
        (None, Some(Other::Idle)) => {
            let message = format!("processor {name} has no effect: it does not take logs");
            diagnostics.note(&section.span, message);
            Ok(None)
        }
        (None, Some(Other::Refused(why))) => {
            diagnostics.error(&section.span, format!("processor {name} is refused: {why}"));
            Err(Reported)
        }
    }
}
