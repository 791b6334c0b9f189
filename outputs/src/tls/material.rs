//! What the options of TLS name: certificates, keys, protocols.
//!
//! Owns: reading PEM files, the rules of `tls.*` that a client and a server share. Never: prints a key or a password.

use codecs::conf::values::Text;
use codecs::conf::{Diagnostics, Section};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, SupportedProtocolVersion};
use std::path::Path;

/// An option that cannot be had as it is.
#[derive(Debug)]
pub struct Wrong {
    /// Which one.
    pub key: &'static str,
    /// Its value and the rule.
    pub message: String,
}

impl Wrong {
    /// Tells it, at the option's line.
    pub fn report(self, section: &Section, owner: &str, diagnostics: &mut Diagnostics) {
        let span = section.get(self.key).map_or(&section.span, |entry| &entry.value_span);
        diagnostics.error(span, format!("{owner}: {}", self.message));
    }
}

/// A key in PEM; one with a password has to be in PKCS#8 (PBES2), as OpenSSL writes it since 1.0.
pub fn private_key(path: &str, password: Option<&Text>) -> Result<PrivateKeyDer<'static>, Wrong> {
    let wrong = |key, rule: String| Wrong { key, message: format!("`tls.key_file` is `{path}`: {rule}") };
    let text = std::fs::read(path).map_err(|error| wrong("tls.key_file", error.to_string()))?;
    let holds = |mark: &[u8]| memchr::memmem::find(&text, mark).is_some();
    if holds(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        let Some(Text(password)) = password else {
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
pub fn versions(
    min: Option<&Text>,
    max: Option<&Text>,
) -> Result<Vec<&'static SupportedProtocolVersion>, Wrong> {
    let bound = |text: Option<&Text>, key: &'static str, default: usize| match text
        .map(|t| t.0.to_ascii_lowercase())
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
    let least = bound(min, "tls.min_version", 2)?;
    let most = bound(max, "tls.max_version", 3)?;
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

/// The certificates of a folder (`tls.ca_path`) and of a file (`tls.ca_file`).
pub fn trusted(folder: Option<&Text>, file: Option<&Text>) -> Result<RootCertStore, Wrong> {
    let mut roots = RootCertStore::empty();
    if let Some(Text(folder)) = folder {
        let unreadable =
            |error| Wrong { key: "tls.ca_path", message: format!("`tls.ca_path` is `{folder}`: {error}") };
        for entry in std::fs::read_dir(folder).map_err(unreadable)?.filter_map(Result::ok) {
            // A directory of certificates may hold other files too.
            roots.add_parsable_certificates(certificates(&entry.path(), "tls.ca_path").unwrap_or_default());
        }
    }
    if let Some(Text(file)) = file {
        roots.add_parsable_certificates(certificates(Path::new(file), "tls.ca_file")?);
    }
    Ok(roots)
}

/// The certificates of a PEM file that the option `key` names: one at least.
pub fn certificates(path: &Path, key: &'static str) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let wrong = |rule: String| Wrong { key, message: format!("`{key}` is `{}`: {rule}", path.display()) };
    let list: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?.collect();
    match list {
        Ok(list) if list.is_empty() => Err(wrong("it holds no certificate (PEM)".to_owned())),
        Ok(list) => Ok(list),
        Err(error) => Err(wrong(error.to_string())),
    }
}
