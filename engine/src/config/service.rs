//! The options of `[SERVICE]`.

use codecs::conf::values::{Bool, Int, Size, Text};

use super::values::{
    BinarySize, DnsMode, DnsResolver, Interval, Limit, LogLevel, Number, Port, StorageSync, StorageType,
};

codecs::options! {
    /// Options of the whole process.
    pub struct ServiceOptions {
        /// Seconds between two flushes of what waits; fractions are allowed.
        flush "flush": One<Interval> = "1",
        /// Adapt the flush interval to the load.
        flush_adaptive "flush.adaptive": One<Bool> = "off" => NoEffect("a full chunk leaves at once, whatever the interval"),
        /// Shortest adaptive interval.
        flush_adaptive_min "flush.adaptive.min_interval": One<Number> = "0.5" => NoEffect("a full chunk leaves at once, whatever the interval"),
        /// Longest adaptive interval.
        flush_adaptive_max "flush.adaptive.max_interval": One<Number> = "2.0" => NoEffect("a full chunk leaves at once, whatever the interval"),
        /// Load in percent that counts as low.
        flush_adaptive_low "flush.adaptive.low_pressure": One<Number> = "25" => NoEffect("a full chunk leaves at once, whatever the interval"),
        /// Load in percent that counts as medium.
        flush_adaptive_medium "flush.adaptive.medium_pressure": One<Number> = "50" => NoEffect("a full chunk leaves at once, whatever the interval"),
        /// Load in percent that counts as high.
        flush_adaptive_high "flush.adaptive.high_pressure": One<Number> = "75" => NoEffect("a full chunk leaves at once, whatever the interval"),
        /// Steps before the interval grows.
        flush_adaptive_up "flush.adaptive.up_steps": One<Int> = "2" => NoEffect("a full chunk leaves at once, whatever the interval"),
        /// Steps before the interval shrinks.
        flush_adaptive_down "flush.adaptive.down_steps": One<Int> = "3" => NoEffect("a full chunk leaves at once, whatever the interval"),
        /// Seconds for deliveries to finish when the process is told to stop; -1 waits for ever.
        grace "grace": One<Int> = "5",
        /// Run in the background.
        daemon "daemon": One<Bool> = "off" => NoEffect("the program stays in the foreground; a service manager can run it in the background"),
        /// Write the log to this file instead of standard error.
        log_file "log_file": Opt<Text>,
        /// How much is told: off, error, warn, info, debug or trace. FLB_LOG_LEVEL of the environment wins.
        log_level "log_level": Opt<LogLevel>,
        /// Files with parsers; may stand several times.
        parsers_file "parsers_file": Many<Text>,
        /// Files that name shared libraries with plugins.
        plugins_file "plugins_file": Many<Text>,
        /// File with stream processor tasks.
        streams_file "streams_file": Opt<Text> => Refused("there is no stream processor"),
        /// Make numbers of texts in stream processor tasks.
        streams_numbers "sp.convert_from_str_to_num": One<Bool> = "on" => NoEffect("there is no stream processor"),
        /// Answer on HTTP with metrics, health and the configuration's state.
        http_server "http_server": One<Bool> = "off",
        /// Address that the HTTP server listens on.
        http_listen "http_listen": One<Text> = "0.0.0.0",
        /// Port that the HTTP server listens on.
        http_port "http_port": One<Port> = "2020",
        /// Answer /api/v1/health by counting errors.
        health_check "health_check": One<Bool> = "off",
        /// Errors within the period above which the answer is unhealthy.
        hc_errors_count "hc_errors_count": One<Int> = "5",
        /// Failed retries within the period above which the answer is unhealthy.
        hc_retry_failure_count "hc_retry_failure_count": One<Int> = "5",
        /// Seconds of the period.
        hc_period "hc_period": One<Int> = "60",
        /// Transport of look-ups: UDP or TCP.
        dns_mode "dns.mode": Opt<DnsMode> => NoEffect("the system's resolver is used"),
        /// Who looks names up: ASYNC or LEGACY.
        dns_resolver "dns.resolver": Opt<DnsResolver> => NoEffect("the system's resolver is used"),
        /// Try IPv4 addresses first.
        dns_prefer_ipv4 "dns.prefer_ipv4": One<Bool> = "off" => NoEffect("both families are tried, as the system orders them"),
        /// Try IPv6 addresses first.
        dns_prefer_ipv6 "dns.prefer_ipv6": One<Bool> = "off" => NoEffect("both families are tried, as the system orders them"),
        /// Folder for chunks on disk.
        storage_path "storage.path": Opt<Text>,
        /// How chunks reach the disk: normal, or full (synced at each write).
        storage_sync "storage.sync": One<StorageSync> = "normal",
        /// Count chunks and bytes of the storage on the HTTP server.
        storage_metrics "storage.metrics": One<Bool> = "on",
        /// Check sums of stored chunks.
        storage_checksum "storage.checksum": One<Bool> = "off" => NoEffect("stored chunks always have check sums"),
        /// Bytes of recovered chunks in memory at a time.
        backlog_mem_limit "storage.backlog.mem_limit": One<Size> = "5M",
        /// Deliver recovered chunks while stopping, too.
        backlog_flush_on_shutdown "storage.backlog.flush_on_shutdown": One<Bool> = "off",
        /// Chunks (2 MB each) of an output that are on disk and in memory too, at most; its share of `memory_limit` bounds them as well.
        max_chunks_up "storage.max_chunks_up": One<Int> = "128",
        /// Delete stored chunks that cannot be read.
        delete_irrecoverable "storage.delete_irrecoverable_chunks": One<Bool> = "off",
        /// Give back what stored chunks do not use of their files.
        trim_files "storage.trim_files": One<Bool> = "off" => NoEffect("a chunk's file is never larger than what was written to it"),
        /// Where the chunks of inputs wait that do not say: memory, filesystem or memrb.
        storage_type "storage.type": Opt<StorageType>,
        /// Inputs without a storage.type take that of the service.
        storage_inherit "storage.inherit": One<Bool> = "off",
        /// Keep what an output refused for good.
        keep_rejected "storage.keep.rejected": One<Bool> = "off",
        /// Folder below storage.path for what was refused.
        rejected_path "storage.rejected.path": Opt<Text>,
        /// Bytes of what was refused at most.
        rejected_limit "storage.rejected.limit": One<Limit> = "off",
        /// Longest wait between two retries, in seconds: a destination that is back is found within it.
        scheduler_cap "scheduler.cap": One<Int> = "60",
        /// Shortest wait before a retry, in seconds.
        scheduler_base "scheduler.base": One<Int> = "5",
        /// Write NaN as null in JSON.
        nan_to_null "json.convert_nan_to_null": One<Bool> = "off" => NoEffect("what is not a finite number is written as text"),
        /// Write characters above ASCII as \u escapes in JSON.
        escape_unicode "json.escape_unicode": One<Bool> = "on",
        /// Bytes that a multi-line record may hold at most.
        multiline_buffer_limit "multiline_buffer_limit": One<BinarySize> = "2MB",
        /// Read the configuration again on SIGHUP or POST /api/v2/reload.
        hot_reload "hot_reload": One<Bool> = "off",
        /// Wait for threads while reloading.
        hot_reload_safety "hot_reload.ensure_thread_safety": One<Bool> = "on" => NoEffect("a reload always waits for the threads that it replaces"),
        /// Seconds after which a reload that hangs ends the process; 0 never does.
        hot_reload_timeout "hot_reload.timeout": One<Int> = "0",
        /// Bytes of a coroutine's stack.
        coro_stack_size "coro_stack_size": One<Int> = "65536" => NoEffect("there are no coroutines"),
        /// Let single records be traced through the pipeline.
        chunk_trace "enable_chunk_trace": One<Bool> = "off" => NoEffect("there is no chunk trace"),
        /// Ask for FIPS mode of OpenSSL.
        fips_mode "security.fips_mode": One<Bool> = "off" => Refused("TLS is rustls, which has no FIPS mode here"),
        /// Open files at most on Windows.
        windows_maxstdio "windows.maxstdio": One<Int> = "512" => NoEffect("this is not Windows"),
        /// Bytes that records, queues and buffers of the process may take; without it, a third of the cgroup's limit, 8 MiB at most.
        memory_limit "memory_limit": Opt<Size>,
    }
}
