//! TLS for outputs: what is trusted, what we show of ourselves, what is checked.
//!
//! Owns: `tls.*` options to a client configuration. Never: opens a connection; prints a key.

use crate::net::TlsOptions;
use codecs::conf::section::Span;
use codecs::conf::values::{Bool, Text};
use codecs::conf::{Diagnostics, Section};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
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
        Err(Wrong { key, message }) => {
            let span = section.get(key).map_or(&section.span, |entry| &entry.value_span);
            diagnostics.error(span, format!("{owner}: {message}"));
            None
        }
    }
}

/// The configuration of a client that trusts whom the system trusts, and checks names.
pub fn of_the_system() -> Result<Arc<ClientConfig>, String> {
    let nothing = Section::new("output", Span::new(&"".into(), 0, 0));
    let options = TlsOptions::read(&nothing, "", &mut Diagnostics::default());
    let options = options.map(|o| TlsOptions { tls: Bool(true), verify_hostname: Bool(true), ..o });
    let options = options.ok_or("the defaults of `tls` are broken")?;
    build(&options).map(Arc::new).map_err(|wrong| wrong.message)
}

/// An option that cannot be had as it is.
struct Wrong {
    key: &'static str,
    message: String,
}

fn build(options: &TlsOptions) -> Result<ClientConfig, Wrong> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = versions(options)?;
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
    let key_der = private_key(&key.0, options.key_passwd.as_ref().map(|Text(password)| password.as_str()))?;
    builder.with_client_auth_cert(chain, key_der).map_err(|error| Wrong {
        key: "tls.crt_file",
        message: format!("certificate and key do not go together: {error}"),
    })
}

/// A key in PEM; one with a password has to be in PKCS#8 (PBES2), as OpenSSL writes it since 1.0.
fn private_key(path: &str, password: Option<&str>) -> Result<PrivateKeyDer<'static>, Wrong> {
    let wrong = |key, rule: String| Wrong { key, message: format!("`tls.key_file` is `{path}`: {rule}") };
    let text = std::fs::read(path).map_err(|error| wrong("tls.key_file", error.to_string()))?;
    let holds = |mark: &[u8]| memchr::memmem::find(&text, mark).is_some();
    if holds(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        let Some(password) = password else {
            return Err(wrong("tls.key_file", "it needs its password in `tls.key_passwd`".to_owned()));
        };
        return decrypted(&text, password).map_err(|rule| wrong("tls.key_passwd", rule));
    }
    if holds(b"Proc-Type: 4,ENCRYPTED") {
        return Err(wrong("tls.key_file", OLD_FORM.to_owned()));
    }
    // As OpenSSL: a password for a key that needs none is not looked at.
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| wrong("tls.key_file", error.to_string()))
}

/// What is said of a key whose encryption nobody should use any more.
const OLD_FORM: &str =
    "its encryption is of an old form (not PBES2); convert it with `openssl pkcs8 -topk8 -in OLD -out NEW`";

/// The key in an `ENCRYPTED PRIVATE KEY`; the error says nothing of the password.
fn decrypted(pem: &[u8], password: &str) -> Result<PrivateKeyDer<'static>, String> {
    let start = memchr::memmem::find(pem, b"-----BEGIN ENCRYPTED").unwrap_or_default();
    let text = std::str::from_utf8(&pem[start..]).map_err(|_| "it is no PEM text".to_owned())?;
    const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
    let end = text.find(END).ok_or("it is cut off")? + END.len();
    let (_, document) = pkcs8::SecretDocument::from_pem(&text[..end]).map_err(|error| error.to_string())?;
    let sealed: pkcs8::EncryptedPrivateKeyInfoRef<'_> =
        document.decode_msg().map_err(|_: pkcs8::der::Error| OLD_FORM.to_owned())?;
    if sealed.encryption_algorithm.pbes2().is_none() {
        return Err(OLD_FORM.to_owned());
    }
    let open = sealed
        .decrypt(password)
        .map_err(|error| format!("cannot be decrypted with `tls.key_passwd`: {error}"))?;
    Ok(PrivateKeyDer::Pkcs8(open.as_bytes().to_vec().into()))
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
    match versions.is_empty() {
        false => Ok(versions),
        true => Err(Wrong {
            key: "tls.max_version",
            message: "the options leave no protocol; TLSv1.2 and TLSv1.3 are spoken".to_owned(),
        }),
    }
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
    let mut roots = RootCertStore::empty();
    if let Some(directory) = &options.ca_path {
        let unreadable = |error| Wrong {
            key: "tls.ca_path",
            message: format!("`tls.ca_path` is `{}`: {error}", directory.0),
        };
        for entry in std::fs::read_dir(&directory.0).map_err(unreadable)?.filter_map(Result::ok) {
            // A directory of certificates may hold other files too.
            roots.add_parsable_certificates(certificates(&entry.path(), "tls.ca_path").unwrap_or_default());
        }
    }
    if let Some(file) = &options.ca_file {
        roots.add_parsable_certificates(certificates(Path::new(&file.0), "tls.ca_file")?);
    }
    if options.ca_path.is_none() && options.ca_file.is_none() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    Ok((roots, if options.ca_file.is_some() { "tls.ca_file" } else { "tls.ca_path" }))
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
        let options = TlsOptions::read(&section, "http.0", &mut diagnostics).expect("valid options");
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
