//! TLS of a listening input: what we show, whom we trust.
//!
//! Owns: `tls.*` options to a server configuration. Never: opens a socket; prints a key.

use super::options::TlsOptions;
use codecs::conf::{Diagnostics, Section};
use outputs::tls::material::{Wrong, certificates, private_key, trusted, versions};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use std::path::Path;
use std::sync::Arc;

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
        Err(wrong) => {
            wrong.report(section, owner, diagnostics);
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
    let key_der = private_key(&key.0, options.key_passwd.as_ref())?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(options.min_version.as_ref(), options.max_version.as_ref())?)
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
    let roots = trusted(options.ca_path.as_ref(), options.ca_file.as_ref())?;
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().map_err(|error| Wrong {
        key: "tls.verify_client_cert",
        message: format!(
            "`tls.verify_client_cert` is on, and no certificate is trusted: {error}; set `tls.ca_file`"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use codecs::conf::source::Memory;

    #[test]
    fn a_key_may_have_a_password() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../outputs/testdata");
        for (password, told) in
            [("secret", ""), ("wrong", "cannot be decrypted"), ("", "needs its password in `tls.key_passwd`")]
        {
            let text = format!(
                "[INPUT]\n tls on\n tls.crt_file {folder}/client.crt\n tls.key_file {folder}/client.scrypt.key\n tls.key_passwd {password}\n"
            );
            let mut diagnostics = Diagnostics::default();
            let document =
                codecs::conf::read("main.conf", &Memory::with(&[("main.conf", &text)]), &mut diagnostics);
            let section = &document.sections[0];
            let options = TlsOptions::read(section, "tcp.0", &mut diagnostics);
            let server = server(&options, &[], section, "tcp.0", &mut diagnostics);
            assert_eq!(server.is_some(), told.is_empty(), "{password}");
            let messages: String = diagnostics.list.iter().map(|d| d.message.as_str()).collect();
            assert!(messages.contains(told), "{password}: {messages}");
        }
    }
}
