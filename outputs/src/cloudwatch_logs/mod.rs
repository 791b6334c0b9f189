//! `cloudwatch_logs`: records to Amazon CloudWatch Logs by PutLogEvents.
//!
//! Owns: the plugin and its instances. Never: encodes an event twice; sends a request over a limit of the service.

mod client;
pub mod counters;
mod deliver;
pub mod encode;
pub mod escape;
pub mod options;
pub mod pack;
mod streams;
pub mod target;
pub mod template;

use crate::aws::AwsOptions;
use crate::net::{NetOptions, TlsOptions};
use crate::segment::{Chunk, Segment};
use crate::{Context, Counter, Output, Plugin, Verdict};
use client::Client;
use codecs::Bump;
use codecs::conf::{Diagnostics, Section};
use codecs::record::Record;
use counters::Counters;
use deliver::Delivery;
use options::{Options, Settings};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use streams::Known;

/// The plugin.
pub static PLUGIN: Plugin = Plugin {
    name: "cloudwatch_logs",
    about: Options::ABOUT,
    tables: &[Options::TABLE, AwsOptions::TABLE, NetOptions::TABLE, TlsOptions::TABLE],
    configure,
};

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Output>> {
    let settings = Settings::read(section, context.name, context.escape_unicode, diagnostics)?;
    Some(Arc::new(Instance::new(settings, context)))
}

/// A configured instance.
#[derive(Debug)]
struct Instance {
    settings: Arc<Settings>,
    delivery: Delivery,
    counters: Counters,
    lanes: usize,
}

impl Instance {
    fn new(settings: Settings, context: &Context<'_>) -> Self {
        let settings = Arc::new(settings);
        let delivery = Delivery {
            component: format!("output:cloudwatch_logs:{}", context.name),
            client: Client::new(settings.clone()),
            groups: settings.groups,
            known_streams: Known::new(),
            known_groups: Known::new(),
            untold: AtomicUsize::new(0),
        };
        let counters = Counters { component: delivery.component.clone(), ..Counters::default() };
        Instance { settings, delivery, counters, lanes: context.workers.unwrap_or(1).max(1) }
    }
}

impl Output for Instance {
    fn encode(&self, tag: &str, record: &Record<'_>, arena: &Bump, segment: &mut Segment) -> bool {
        self.settings.encoder.append(tag, record, arena, segment, &self.counters)
    }

    fn deliver<'d>(&'d self, chunk: &'d mut Chunk) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'd>> {
        Box::pin(self.delivery.attempt(chunk, &self.counters))
    }

    fn lanes(&self) -> usize {
        self.lanes
    }

    fn start(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // What fails here fails again at the first delivery, and is told then.
        Box::pin(async { drop(self.delivery.client.open().await) })
    }

    fn counters(&self) -> Vec<Counter> {
        self.counters.list()
    }
}

#[cfg(test)]
mod tests;
