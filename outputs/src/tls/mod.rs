//! TLS for outputs: what is trusted, what we show of ourselves, what is checked.
//!
//! Owns: `tls.*` options to a client configuration. Never: opens a connection; prints a key.

pub mod material;

use crate::net::TlsOptions;
use codecs::conf::section::Span;
use codecs::conf::values::Bool;
use codecs::conf::{Diagnostics, Section};
use material::{Wrong, certificates, private_key, trusted, versions};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;

/// A client configuration and the name that is asked for, made from the options; `None` when TLS is off.
/// What is wrong is reported at the section's option; reads the files that the options name.
pub fn client(
    options: &TlsOptions,
    section: &Section,
    owner: &str,
    diagnostics: &mut Diagnostics,
) -> Option<Option<Arc<ClientConfig>>> {
    if !options.tls.0 {
        return Some(None);
    }
    match build(options) {
        Ok(config) => Some(Some(Arc::new(config))),
        Err(wrong) => {
            wrong.report(section, owner, diagnostics);
            None
        }
    }
}

/// The configuration of a client that trusts whom the system trusts, and checks names.
pub fn of_the_system() -> Result<Arc<ClientConfig>, String> {
    let nothing = Section::new("output", Span::new(&"".into(), 0, 0));
    let options = TlsOptions::read(&nothing, "", &mut Diagnostics::default());
    let options = TlsOptions { tls: Bool(true), verify_hostname: Bool(true), ..options };
    build(&options).map(Arc::new).map_err(|wrong| wrong.message)
}

fn build(options: &TlsOptions) -> Result<ClientConfig, Wrong> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = versions(options.min_version.as_ref(), options.max_version.as_ref())?;
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions).map_err(
            |error| Wrong { key: "tls.max_version", message: format!("no protocol is left: {error}") },
        )?;
    let verifier = verifier(options, provider)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let Some(certificate) = &options.crt_file else { return Ok(builder.with_no_client_auth()) };
    let Some(key) = &options.key_file else {
        return Err(Wrong {
            key: "tls.crt_file",
            message: "`tls.crt_file` is set without `tls.key_file`".to_owned(),
        });
    };
    let chain = certificates(Path::new(&certificate.0), "tls.crt_file")?;
    let key_der = private_key(&key.0, options.key_passwd.as_ref())?;
    builder.with_client_auth_cert(chain, key_der).map_err(|error| Wrong {
        key: "tls.crt_file",
        message: format!("certificate and key do not go together: {error}"),
    })
}

fn verifier(
    options: &TlsOptions,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, Wrong> {
    if !options.verify.0 {
        return Ok(Arc::new(Anybody { provider }));
    }
    let (roots, key) = roots(options)?;
    let chain =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().map_err(|error| {
            Wrong { key, message: format!("no certificate is trusted: {error}; set `tls.ca_file`") }
        })?;
    Ok(match options.verify_hostname.0 {
        true => chain,
        false => Arc::new(AnyName { chain }),
    })
}

/// What is trusted: the given files, else the system's certificates.
fn roots(options: &TlsOptions) -> Result<(RootCertStore, &'static str), Wrong> {
    let mut roots = trusted(options.ca_path.as_ref(), options.ca_file.as_ref())?;
    if options.ca_path.is_none() && options.ca_file.is_none() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    Ok((roots, if options.ca_file.is_some() { "tls.ca_file" } else { "tls.ca_path" }))
}

/// Trusts whoever answers (`tls.verify off`).
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Checks that the certificate leads to a trusted one, but not its name (`tls.verify_hostname off`, the default there).
#[derive(Debug)]
struct AnyName {
    chain: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.chain.verify_server_cert(end, intermediates, name, ocsp, now) {
            // The name is checked last: everything else was found in order.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::section;

    fn told(key: &str, password: &str) -> String {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
        let (certificate, key) = (format!("{folder}/client.crt"), format!("{folder}/{key}"));
        let mut entries = vec![
            ("tls", "on"),
            ("tls.ca_file", certificate.as_str()),
            ("tls.crt_file", certificate.as_str()),
            ("tls.key_file", key.as_str()),
        ];
        if !password.is_empty() {
            entries.push(("tls.key_passwd", password));
        }
        let (section, mut diagnostics) = (section(&entries), Diagnostics::default());
        let options = TlsOptions::read(&section, "http.0", &mut diagnostics);
        match client(&options, &section, "http.0", &mut diagnostics) {
            Some(_) => String::new(),
            None => diagnostics.list[0].message.clone(),
        }
    }

    #[test]
    fn keys_with_a_password_are_opened() {
        for (key, password, part) in [
            ("client.key", "", ""),
            ("client.key", "not needed", ""),
            ("client.pbkdf2.key", "secret", ""),
            ("client.scrypt.key", "secret", ""),
            ("client.pbkdf2.key", "wrong", "cannot be decrypted with `tls.key_passwd`"),
            ("client.pbkdf2.key", "", "needs its password in `tls.key_passwd`"),
            ("client.legacy.key", "secret", "openssl pkcs8 -topk8"),
            ("client.pbes1.key", "secret", "openssl pkcs8 -topk8"),
            ("client.crt", "", "`tls.key_file` is"),
            ("none", "", "`tls.key_file` is"),
        ] {
            let told = told(key, password);
            assert_eq!((told.contains(part), told.is_empty()), (true, part.is_empty()), "{key}: {told}");
            assert!(password.is_empty() || !told.contains(&format!("`{password}`")), "{told}");
        }
    }
}
