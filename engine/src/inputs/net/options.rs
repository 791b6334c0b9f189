//! Options that all listening inputs have: the address, the network, TLS.
//!
//! Owns: their spelling, defaults and status. Never: opens a socket or reads a certificate.

use codecs::conf::values::{Bool, Int, Seconds, Text};
use codecs::conf::{OptionSpec, Status};
use std::time::Duration;

/// A table of options that do nothing here, all for one reason.
pub(crate) const fn idle<const N: usize>(table: &[OptionSpec], why: &'static str) -> [OptionSpec; N] {
    let (mut out, mut at) = ([table[0]; N], 0);
    while at < N {
        out[at] = table[at];
        out[at].status = Status::NoEffect(why);
        at += 1;
    }
    out
}

codecs::options! {
    /// Where an input listens.
    pub struct ListenOptions {
        /// Address to listen on.
        listen "listen": One<Text> = "0.0.0.0",
        /// Found in old files.
        host "host": Opt<Text> => NoEffect("the address to listen on is `Listen`"),
        /// Port to listen on.
        port "port": Opt<Int>,
    }
}

codecs::options! {
    /// Connections of a listening input.
    pub struct NetOptions {
        /// Let other programs, or other inputs, listen on the same port.
        share_port "net.share_port": One<Bool> = "false",
        /// Connections that wait in the kernel to be accepted.
        backlog "net.backlog": One<Int> = "128",
        /// Close a connection from which nothing came for so long; 0 means no limit.
        io_timeout "net.io_timeout": One<Seconds> = "0s",
        /// Close a connection whose TLS handshake takes longer.
        accept_timeout "net.accept_timeout": One<Seconds> = "10s",
        /// Log that as an error, not as a debug message.
        accept_timeout_log_error "net.accept_timeout_log_error": One<Bool> = "true",
    }
}

impl NetOptions {
    /// Time without a byte after which a connection is closed.
    pub fn idle(&self) -> Option<Duration> {
        (self.io_timeout.0 > 0.0).then(|| outputs::net::duration(self.io_timeout.0))
    }
}

codecs::options! {
    /// What only makes sense for HTTP.
    pub struct KeepaliveOptions {
        /// Use a connection for more than one request.
        keepalive "net.keepalive": One<Bool> = "true" => NoEffect("a connection lives until its sender closes it, or `net.io_timeout` does"),
    }
}

codecs::options! {
    /// TLS of a listening input.
    pub struct TlsOptions {
        /// Speak TLS.
        tls "tls": One<Bool> = "off",
        /// For clients.
        verify "tls.verify": One<Bool> = "on" => NoEffect("whether senders must show a certificate is `tls.verify_client_cert`"),
        /// Refuse a sender that shows no certificate which leads to a trusted one.
        verify_client_cert "tls.verify_client_cert": One<Bool> = "off",
        /// For clients.
        verify_hostname "tls.verify_hostname": One<Bool> = "off" => NoEffect("senders are not known by name"),
        /// Verbosity of the TLS library.
        debug "tls.debug": One<Int> = "1" => NoEffect("the reason of a failed handshake is always told"),
        /// Directory with certificates that senders' certificates must lead to.
        ca_path "tls.ca_path": Opt<Text>,
        /// File with certificates that senders' certificates must lead to (PEM).
        ca_file "tls.ca_file": Opt<Text>,
        /// Our certificate, and those between it and a trusted one (PEM).
        crt_file "tls.crt_file": Opt<Text>,
        /// The key of our certificate (PEM).
        key_file "tls.key_file": Opt<Text>,
        /// Password of the key.
        key_passwd "tls.key_passwd": Opt<Text>,
        /// For clients.
        vhost "tls.vhost": Opt<Text> => NoEffect("there is one certificate, shown whatever name is asked for"),
        /// Oldest protocol that is spoken.
        min_version "tls.min_version": Opt<Text>,
        /// Newest protocol that is spoken.
        max_version "tls.max_version": Opt<Text>,
        /// OpenSSL names of ciphers that may be used.
        ciphers "tls.ciphers": Opt<Text> => NoEffect("only the suites of TLS 1.3 and the AEAD suites with forward secrecy of TLS 1.2 are offered"),
        /// For clients.
        proxy_verify "tls.proxy.verify": One<Bool> = "on" => NoEffect("an input has no proxy"),
        /// For clients.
        proxy_verify_hostname "tls.proxy.verify_hostname": One<Bool> = "on" => NoEffect("an input has no proxy"),
        /// For clients.
        proxy_ca_path "tls.proxy.ca_path": Opt<Text> => NoEffect("an input has no proxy"),
        /// For clients.
        proxy_ca_file "tls.proxy.ca_file": Opt<Text> => NoEffect("an input has no proxy"),
        /// Name of the certificate store.
        windows_certstore_name "tls.windows.certstore_name": Opt<Text> => NoEffect("it is for Windows"),
        /// Use the enterprise certificate store.
        windows_use_enterprise_store "tls.windows.use_enterprise_store": Opt<Text> => NoEffect("it is for Windows"),
        /// Thumbprints of trusted certificates.
        windows_client_thumbprints "tls.windows.client_thumbprints": Opt<Text> => NoEffect("it is for Windows"),
    }
}

/// `0666`, as chmod takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions(pub u32);

impl codecs::conf::OptionValue for Permissions {
    const SHAPE: &'static str = "octal number";
    fn parse(text: &str) -> Result<Self, String> {
        match u32::from_str_radix(text.trim(), 8) {
            Ok(bits) if bits <= 0o7777 => Ok(Permissions(bits)),
            _ => Err("an octal number of at most four digits, like 0644".into()),
        }
    }
}

/// A size of which Fluent Bit counts whole units of 1024: `64`, `64k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kibibytes(pub usize);

impl codecs::conf::OptionValue for Kibibytes {
    const SHAPE: &'static str = "number of KiB";
    fn parse(text: &str) -> Result<Self, String> {
        const RULE: &str = "a number of KiB above 0, like 64 (a K behind it changes nothing)";
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower.strip_suffix("kb").or_else(|| lower.strip_suffix('k')).unwrap_or(&lower);
        match digits.trim().parse::<usize>() {
            Ok(number @ 1..=1_048_576) => Ok(Kibibytes(number * 1024)),
            _ => Err(RULE.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codecs::conf::OptionValue;

    #[test]
    fn sizes_and_permissions_are_read() {
        assert_eq!(Kibibytes::parse("32"), Ok(Kibibytes(32 * 1024)));
        assert_eq!(Kibibytes::parse("64k"), Ok(Kibibytes(64 * 1024)));
        for text in ["0", "1M", "x", "-1", ""] {
            assert!(Kibibytes::parse(text).is_err(), "{text}");
        }
        assert_eq!(Permissions::parse("0666"), Ok(Permissions(0o666)));
        assert!(Permissions::parse("0888").is_err() && Permissions::parse("77777").is_err());
    }
}
