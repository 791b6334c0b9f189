//! Network options common to all outputs: connections (`net.*`) and TLS (`tls`, `tls.*`).
//!
//! Owns: the spelling, defaults and status of these options, as in Fluent Bit's upstream and TLS settings.
//! Never: opens a connection or reads a certificate.

use codecs::conf::values::{Bool, Int, Seconds, Text};
use std::time::Duration;

codecs::choice! {
    /// How a name is looked up.
    pub enum DnsMode {
        /// Over UDP.
        Udp "UDP",
        /// Over TCP.
        Tcp "TCP",
    }
}

codecs::choice! {
    /// Which resolver looks up names.
    pub enum DnsResolver {
        /// The C library's.
        Legacy "LEGACY",
        /// A resolver of its own.
        Async "ASYNC",
    }
}

codecs::options! {
    /// Connections of an output.
    pub struct NetOptions {
        /// Look up names over UDP or TCP first.
        dns_mode "net.dns.mode": Opt<DnsMode> => NoEffect("names are looked up by the system's resolver, which follows resolv.conf"),
        /// Resolver that looks up names, LEGACY (the system's) or ASYNC.
        dns_resolver "net.dns.resolver": Opt<DnsResolver> => NoEffect("names are looked up by the system's resolver, off the network threads"),
        /// Try IPv4 addresses first.
        prefer_ipv4 "net.dns.prefer_ipv4": One<Bool> = "false",
        /// Try IPv6 addresses first.
        prefer_ipv6 "net.dns.prefer_ipv6": One<Bool> = "false",
        /// Use a connection for more than one request.
        keepalive "net.keepalive": One<Bool> = "true",
        /// Close a connection that was not used for so long.
        keepalive_idle_timeout "net.keepalive_idle_timeout": One<Seconds> = "30s",
        /// Close a connection after so many requests; 0 means no limit.
        keepalive_max_recycle "net.keepalive_max_recycle": One<Int> = "2000",
        /// Let the kernel probe idle connections.
        tcp_keepalive "net.tcp_keepalive": One<Bool> = "off",
        /// Seconds between the last data and the first probe; -1 leaves the system's setting.
        tcp_keepalive_time "net.tcp_keepalive_time": One<Int> = "-1",
        /// Seconds between probes; -1 leaves the system's setting.
        tcp_keepalive_interval "net.tcp_keepalive_interval": One<Int> = "-1",
        /// How many unanswered probes end a connection; -1 leaves the system's setting.
        tcp_keepalive_probes "net.tcp_keepalive_probes": One<Int> = "-1",
        /// Give up a request when nothing moves for so long; 0 means no limit.
        io_timeout "net.io_timeout": One<Seconds> = "0s",
        /// Give up connecting, TLS included, after so long.
        connect_timeout "net.connect_timeout": One<Seconds> = "10s",
        /// Log a connect time-out as an error, not as a debug message.
        connect_timeout_log_error "net.connect_timeout_log_error": One<Bool> = "true" => NoEffect("each delivery that has to be repeated is told with its reason"),
        /// Local address that connections leave from.
        source_address "net.source_address": Opt<Text>,
        /// At most so many connections per worker; 0 means no limit.
        max_worker_connections "net.max_worker_connections": One<Int> = "0" => NoEffect("each worker uses one connection at a time"),
        /// Do not look at HTTP_PROXY and NO_PROXY.
        proxy_env_ignore "net.proxy_env_ignore": One<Bool> = "false",
    }
}

impl NetOptions {
    /// The longest that connecting may take; Fluent Bit's 0 means no limit of its own.
    pub fn connect_limit(&self) -> Duration {
        match self.connect_timeout.0 {
            0.0 => Duration::from_secs(3600),
            seconds => duration(seconds),
        }
    }

    /// The longest that a connection may stand still in a request, if there is a limit.
    pub fn io_limit(&self) -> Option<Duration> {
        (self.io_timeout.0 > 0.0).then(|| duration(self.io_timeout.0))
    }
}

/// Seconds of an option as a duration, cut to what timers can hold.
pub fn duration(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, 1e9))
}

codecs::options! {
    /// TLS of an output.
    pub struct TlsOptions {
        /// Speak TLS.
        tls "tls": One<Bool> = "off",
        /// Refuse a server whose certificate does not lead to a trusted one.
        verify "tls.verify": One<Bool> = "on",
        /// Refuse a server whose certificate is for another name.
        verify_hostname "tls.verify_hostname": One<Bool> = "off",
        /// For servers only.
        verify_client_cert "tls.verify_client_cert": One<Bool> = "off" => NoEffect("an output is the client"),
        /// Verbosity of the TLS library.
        debug "tls.debug": One<Int> = "1" => NoEffect("the reason of a failed handshake is always told"),
        /// Directory with trusted certificates, instead of the system's.
        ca_path "tls.ca_path": Opt<Text>,
        /// File with trusted certificates (PEM), instead of the system's.
        ca_file "tls.ca_file": Opt<Text>,
        /// Our own certificate, for servers that ask for one (PEM).
        crt_file "tls.crt_file": Opt<Text>,
        /// The key of our own certificate (PEM).
        key_file "tls.key_file": Opt<Text>,
        /// Password of the key.
        key_passwd "tls.key_passwd": Opt<Text>,
        /// Name that is asked for (SNI) and checked, instead of the host.
        vhost "tls.vhost": Opt<Text>,
        /// Oldest protocol that is spoken.
        min_version "tls.min_version": Opt<Text>,
        /// Newest protocol that is spoken.
        max_version "tls.max_version": Opt<Text>,
        /// OpenSSL names of ciphers that may be used.
        ciphers "tls.ciphers": Opt<Text> => NoEffect("only the suites of TLS 1.3 and the AEAD suites with forward secrecy of TLS 1.2 are offered"),
        /// Refuse a proxy whose certificate does not lead to a trusted one.
        proxy_verify "tls.proxy.verify": One<Bool> = "on" => NoEffect("a proxy is spoken to without TLS"),
        /// Refuse a proxy whose certificate is for another name.
        proxy_verify_hostname "tls.proxy.verify_hostname": One<Bool> = "on" => NoEffect("a proxy is spoken to without TLS"),
        /// Directory with certificates that are trusted for a proxy.
        proxy_ca_path "tls.proxy.ca_path": Opt<Text> => NoEffect("a proxy is spoken to without TLS"),
        /// File with certificates that are trusted for a proxy.
        proxy_ca_file "tls.proxy.ca_file": Opt<Text> => NoEffect("a proxy is spoken to without TLS"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codecs::conf::section::Span;
    use codecs::conf::{Diagnostics, Section};
    use std::sync::Arc;

    #[test]
    fn defaults_are_fluent_bits() {
        let section = Section::new("output", Span::new(&Arc::from("x.conf"), 1, 1));
        let mut diagnostics = Diagnostics::default();
        let net = NetOptions::read(&section, "http.0", &mut diagnostics);
        let tls = TlsOptions::read(&section, "http.0", &mut diagnostics);
        assert!(diagnostics.list.is_empty());
        assert_eq!((net.connect_limit(), net.io_limit()), (Duration::from_secs(10), None));
        assert!(net.keepalive.0 && !net.tcp_keepalive.0 && net.keepalive_max_recycle.0 == 2000);
        assert!(!tls.tls.0 && tls.verify.0 && !tls.verify_hostname.0);
    }
}
