//! What the output counts beyond the common counters.

use crate::Counter;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Events by what became of them.
#[derive(Debug, Default)]
pub struct Counters {
    /// Cut because they were longer than the service takes.
    pub cut: AtomicU64,
    /// Not sent: the message was empty.
    pub empty: AtomicU64,
    /// Not sent: the record lacks `log_key`.
    pub no_log_key: AtomicU64,
    /// Rejected: older than 14 days.
    pub too_old: AtomicU64,
    /// Rejected: more than two hours in the future.
    pub too_new: AtomicU64,
    /// Rejected: older than the group's retention.
    pub expired: AtomicU64,
    /// Dropped with a request that the service refused for good.
    pub refused: AtomicU64,
    /// Sent to the group or stream of a record whose template names nothing in it.
    pub unresolved: AtomicU64,
    /// `output:cloudwatch_logs:cloudwatch_logs.0`, for messages.
    pub component: String,
    /// Requests that put events.
    pub puts: AtomicU64,
}

impl Counters {
    /// Counts a record whose template cannot be resolved; the first one is told.
    #[cold]
    pub fn unresolved(&self, tag: &str) {
        if self.unresolved.fetch_add(1, Relaxed) == 0 {
            let message = format!(
                "a record of tag {tag} lacks what `log_group_template` or `log_stream_template` names: it goes to the \
                 group and stream that the options without a template name; counted in \
                 ripsaw_output_unresolved_templates_total, and not told again"
            );
            crate::notice::tell(crate::notice::Level::Warn, &self.component, &message);
        }
    }

    /// As the engine shows them.
    pub fn list(&self) -> Vec<Counter> {
        let lost = |reason: &str, value: &AtomicU64| Counter {
            name: "dropped_events_total",
            help: "Events that were not delivered, by reason",
            labels: vec![("reason", reason.to_owned())],
            value: value.load(Relaxed),
        };
        let plain = |name, help, value: &AtomicU64| Counter {
            name,
            help,
            labels: Vec::new(),
            value: value.load(Relaxed),
        };
        vec![
            lost("empty", &self.empty),
            lost("no_log_key", &self.no_log_key),
            lost("too_old", &self.too_old),
            lost("too_new", &self.too_new),
            lost("expired", &self.expired),
            lost("refused", &self.refused),
            plain("cut_events_total", "Events cut to the largest size that the service takes", &self.cut),
            plain(
                "unresolved_templates_total",
                "Events whose template named nothing in their record; they went to the names without one",
                &self.unresolved,
            ),
            plain("put_log_events_total", "PutLogEvents requests", &self.puts),
        ]
    }
}
