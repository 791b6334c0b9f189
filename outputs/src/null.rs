//! `null`: throws records away.
//!
//! Owns: nothing. Never: encodes a byte.

use crate::segment::{Chunk, Segment};
use crate::{Context, Output, Plugin, Verdict};
use codecs::Bump;
use codecs::conf::values::Text;
use codecs::conf::{Diagnostics, Section};
use codecs::record::Record;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

codecs::options! {
    /// Throws records away.
    pub struct Options {
        /// Accepted as in Fluent Bit.
        format "format": Opt<Text> => NoEffect("nothing is written"),
        /// Accepted as in Fluent Bit.
        json_date_key "json_date_key": One<Text> = "date" => NoEffect("nothing is written"),
        /// Accepted as in Fluent Bit.
        json_date_format "json_date_format": Opt<Text> => NoEffect("nothing is written"),
    }
}

/// The plugin.
pub static PLUGIN: Plugin =
    Plugin { name: "null", about: Options::ABOUT, tables: &[Options::TABLE], configure };

fn configure(
    section: &Section,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Output>> {
    Options::read(section, context.name, diagnostics);
    Some(Arc::new(Null { lanes: context.workers.unwrap_or(1).max(1) }))
}

struct Null {
    lanes: usize,
}

impl Output for Null {
    fn chunk_bytes_target(&self) -> usize {
        64 * 1024
    }

    fn encode(&self, _tag: &str, _record: &Record<'_>, _arena: &Bump, _segment: &mut Segment) -> bool {
        true
    }

    fn deliver<'d>(&'d self, _chunk: &'d mut Chunk) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'd>> {
        Box::pin(async { Verdict::Delivered { dropped: 0 } })
    }

    fn lanes(&self) -> usize {
        self.lanes
    }
}
