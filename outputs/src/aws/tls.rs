//! TLS of AWS connections: trust roots, client certificates, and `tls.verify off`.
//!
//! Owns: the `tls.*` settings made into a rustls configuration. Never: falls back to an unverified connection by itself.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;

/// `tls.*` settings. Files are read when the connection is set up, never before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// False accepts any certificate.
    pub verify: bool,
    /// False accepts a trusted certificate of another host.
    pub verify_hostname: bool,
    /// Trust the system's roots also where `ca_file` or `ca_path` is set.
    pub system_roots: bool,
    /// PEM file of trusted roots.
    pub ca_file: Option<String>,
    /// Folder of such files.
    pub ca_path: Option<String>,
    /// PEM file of the client's certificate chain.
    pub crt_file: Option<String>,
    /// PEM file of its key.
    pub key_file: Option<String>,
    /// Name that the server's certificate must carry, where it is not the host.
    pub vhost: Option<String>,
}

impl Default for Tls {
    fn default() -> Self {
        Tls {
            verify: true,
            verify_hostname: true,
            system_roots: false,
            ca_file: None,
            ca_path: None,
            crt_file: None,
            key_file: None,
            vhost: None,
        }
    }
}

impl Tls {
    /// The same trust, and the system's, with verification on, for credentials: they never travel over an unverified
    /// connection.
    #[must_use]
    pub fn verified(&self) -> Tls {
        Tls { verify: true, verify_hostname: true, system_roots: true, vhost: None, ..self.clone() }
    }

    /// Reads the files and makes the client configuration; the error names the option and its file.
    pub fn client_config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("tls: {error}"))?;
        let builder = if !self.verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate { provider }))
        } else {
            let roots = Arc::new(self.roots()?);
            let inner =
                WebPkiServerVerifier::builder_with_provider(roots, provider).build().map_err(|error| {
                    format!(
                        "no trusted root certificate (install ca-certificates or set `tls.ca_file`): {error}"
                    )
                })?;
            if self.verify_hostname {
                builder.with_webpki_verifier(inner)
            } else {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyHost { inner }))
            }
        };
        match self.identity()? {
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain, key).map_err(|error| format!("`tls.crt_file`: {error}"))
            }
            None => Ok(builder.with_no_client_auth()),
        }
    }

    /// The roots of `tls.ca_file` and `tls.ca_path`, else the system's.
    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        if self.system_roots || (self.ca_file.is_none() && self.ca_path.is_none()) {
            // A system without roots is an error only when nothing else is trusted; the verifier says so.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if let Some(file) = &self.ca_file {
            roots.add_parsable_certificates(certificates("tls.ca_file", Path::new(file))?);
        }
        if let Some(folder) = &self.ca_path {
            let entries = std::fs::read_dir(folder)
                .map_err(|error| format!("cannot read `tls.ca_path` {folder}: {error}"))?;
            for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
                // A folder of certificates holds other files too (a README, revocation lists).
                roots.add_parsable_certificates(certificates("tls.ca_path", &path).unwrap_or_default());
            }
        }
        Ok(roots)
    }

    /// The client's certificate chain and key, when both are set.
    fn identity(&self) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, String> {
        let (Some(crt), Some(key)) = (&self.crt_file, &self.key_file) else {
            return Ok(None);
        };
        let chain = certificates("tls.crt_file", Path::new(crt))?;
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| format!("cannot read `tls.key_file` {key}: {error}"))?;
        Ok(Some((chain, key)))
    }
}

/// The certificates of a PEM file; at least one.
fn certificates(option: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("cannot read `{option}` {}: {error}", path.display()))?;
    match found.is_empty() {
        true => Err(format!("`{option}` {} holds no certificate", path.display())),
        false => Ok(found),
    }
}

/// `tls.verify off`.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
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
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// `tls.verify_hostname off`: a trusted chain is needed, its name is not looked at.
#[derive(Debug)]
struct AnyHost {
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.inner.verify_server_cert(cert, chain, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
