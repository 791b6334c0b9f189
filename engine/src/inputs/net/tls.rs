//! TLS of a listening input: what we show, whom we trust.
//!
//! Owns: `tls.*` options to a server configuration. Never: opens a socket; prints a key.

use super::options::TlsOptions;
use codecs::conf::{Diagnostics, Section};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::path::Path;
use std::sync::Arc;

/// An option that cannot be had as it is.
struct Wrong {
    key: &'static str,
    message: String,
}

/// A server configuration made from the options, or `None` inside when TLS is off. `protocols` are offered by ALPN.
/// What is wrong is reported at the section's option; reads the files that the options name.
pub fn server(
    options: &TlsOptions,
    protocols: &[&[u8]],
    section: &Section,
    owner: &str,
    diagnostics: &mut Diagnostics,
) -> Option<Option<Arc<ServerConfig>>> {
    if !options.tls.0 {
        return Some(None);
    }
    match build(options) {
        Ok(mut config) => {
            config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
            Some(Some(Arc::new(config)))
        }
        Err(Wrong { key, message }) => {
            let span = section.get(key).map_or(&section.span, |entry| &entry.value_span);
            diagnostics.error(span, format!("{owner}: {message}"));
            None
        }
    }
}

fn build(options: &TlsOptions) -> Result<ServerConfig, Wrong> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (Some(certificate), Some(key)) = (&options.crt_file, &options.key_file) else {
        let key = if options.crt_file.is_none() { "tls.crt_file" } else { "tls.key_file" };
        return Err(Wrong {
            key: "tls",
            message: format!("`tls` is on without `{key}`: a server shows a certificate"),
        });
    };
    let chain = certificates(Path::new(&certificate.0), "tls.crt_file")?;
    let key_der = PrivateKeyDer::from_pem_file(&key.0).map_err(|error| Wrong {
        key: "tls.key_file",
        message: format!("`tls.key_file` is `{}`: {error}", key.0),
    })?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(options)?)
        .map_err(|error| Wrong {
            key: "tls.max_version",
            message: format!("no protocol is left: {error}"),
        })?;
    let builder = match options.verify_client_cert.0 {
        false => builder.with_no_client_auth(),
        true => builder.with_client_cert_verifier(verifier(options, provider)?),
    };
    builder.with_single_cert(chain, key_der).map_err(|error| Wrong {
        key: "tls.crt_file",
        message: format!("certificate and key do not go together: {error}"),
    })
}

/// Asks for a certificate that leads to a trusted one.
fn verifier(
    options: &TlsOptions,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Wrong> {
    let key =
        if options.ca_path.is_some() && options.ca_file.is_none() { "tls.ca_path" } else { "tls.ca_file" };
    let mut roots = RootCertStore::empty();
    if let Some(directory) = &options.ca_path {
        let unreadable =
            |error| Wrong { key, message: format!("`tls.ca_path` is `{}`: {error}", directory.0) };
        for entry in std::fs::read_dir(&directory.0).map_err(unreadable)?.filter_map(Result::ok) {
            // A directory of certificates may hold other files too.
            roots.add_parsable_certificates(certificates(&entry.path(), "tls.ca_path").unwrap_or_default());
        }
    }
    if let Some(file) = &options.ca_file {
        roots.add_parsable_certificates(certificates(Path::new(&file.0), "tls.ca_file")?);
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().map_err(|error| Wrong {
        key: "tls.verify_client_cert",
        message: format!(
            "`tls.verify_client_cert` is on, and no certificate is trusted: {error}; set `tls.ca_file`"
        ),
    })
}

/// The protocols between `tls.min_version` and `tls.max_version`; those before 1.2 are never spoken.
fn versions(options: &TlsOptions) -> Result<Vec<&'static SupportedProtocolVersion>, Wrong> {
    let bound = |text: Option<&str>, key: &'static str, default: usize| match text
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        None => Ok(default),
        Some("sslv2" | "sslv3" | "tlsv1" | "tlsv1.0" | "tlsv1.1") => Ok(1),
        Some("tlsv1.2") => Ok(2),
        Some("tlsv1.3") => Ok(3),
        Some(other) => {
            Err(Wrong { key, message: format!("`{key}` is `{other}`, not one of TLSv1.2, TLSv1.3") })
        }
    };
    let least = bound(options.min_version.as_ref().map(|t| t.0.as_str()), "tls.min_version", 2)?;
    let most = bound(options.max_version.as_ref().map(|t| t.0.as_str()), "tls.max_version", 3)?;
    let all = [(2, &rustls::version::TLS12), (3, &rustls::version::TLS13)];
    let versions: Vec<_> =
        all.into_iter().filter(|(at, _)| (least..=most).contains(at)).map(|(_, version)| version).collect();
    if versions.is_empty() {
        let message = "the options leave no protocol; TLSv1.2 and TLSv1.3 are spoken".to_owned();
        return Err(Wrong { key: "tls.max_version", message });
    }
    Ok(versions)
}

fn certificates(path: &Path, key: &'static str) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let wrong = |rule: String| Wrong { key, message: format!("`{key}` is `{}`: {rule}", path.display()) };
    let list: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?.collect();
    match list {
        Ok(list) if list.is_empty() => Err(wrong("it holds no certificate (PEM)".to_owned())),
        Ok(list) => Ok(list),
        Err(error) => Err(wrong(error.to_string())),
    }
}
