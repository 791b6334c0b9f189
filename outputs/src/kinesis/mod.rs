//! `kinesis_streams` and `kinesis_firehose`: records to Amazon Kinesis Data Streams and Amazon Data Firehose.
//!
//! Owns: the two plugins, which differ in what [`service`] says. Never: encodes a record twice; sends a request over a limit
//! of its service; sends again what was taken.

mod answer;
mod body;
mod client;
mod counters;
mod deliver;
mod encode;
mod key;
mod options;
mod pack;
mod service;
mod squeeze;

pub use options::{FirehoseOptions, Options, StreamsOptions};
pub use squeeze::Compression;

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
use key::RandomKeys;
use options::Settings;
use service::Service;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// `kinesis_streams`, in the registry.
pub static STREAMS: Plugin = Plugin {
    name: "kinesis_streams",
    about: StreamsOptions::ABOUT,
    tables: &[StreamsOptions::TABLE, Options::TABLE, AwsOptions::TABLE, NetOptions::TABLE, TlsOptions::TABLE],
    configure: |section, context, diagnostics| configure(&service::STREAMS, section, context, diagnostics),
};
/// `kinesis_firehose`, in the registry.
pub static FIREHOSE: Plugin = Plugin {
    name: "kinesis_firehose",
    about: FirehoseOptions::ABOUT,
    tables: &[
        FirehoseOptions::TABLE,
        Options::TABLE,
        AwsOptions::TABLE,
        NetOptions::TABLE,
        TlsOptions::TABLE,
    ],
    configure: |section, context, diagnostics| configure(&service::FIREHOSE, section, context, diagnostics),
};

fn configure(
    service: &'static Service,
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Output>> {
    let escape = crate::formats::escape(context.escape_unicode);
    let settings = Settings::read(service, section, context.name, escape, diagnostics)?;
    match Instance::new(settings, context) {
        Ok(instance) => Some(Arc::new(instance)),
        Err((key, message)) => {
            let span = section.get(key).map_or(&section.span, |entry| &entry.value_span);
            diagnostics.error(span, format!("{}: {message}", context.name));
            None
        }
    }
}

/// A configured instance.
struct Instance {
    settings: Arc<Settings>,
    delivery: Delivery,
    counters: Counters,
    lanes: usize,
}

impl Instance {
    fn new(settings: Settings, context: &Context<'_>) -> Result<Self, (&'static str, String)> {
        let settings = Arc::new(settings);
        let component = format!("output:{}:{}", settings.service.plugin, context.name);
        let delivery = Delivery {
            settings: settings.clone(),
            client: Client::new(settings.clone())?,
            keys: RandomKeys::default(),
            untold: AtomicUsize::new(0),
        };
        let counters = Counters { component, ..Counters::default() };
        Ok(Instance { settings, delivery, counters, lanes: context.workers.unwrap_or(1).max(1) })
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
        Box::pin(self.delivery.client.open())
    }

    fn counters(&self) -> Vec<Counter> {
        self.counters.list()
    }
}

#[cfg(test)]
mod tests;
