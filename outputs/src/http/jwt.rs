//! Signed assertions of who we are (RFC 7523), for OAuth2's `private_key_jwt`.
//!
//! Owns: header, claims and signature of an assertion. Never: prints the key.

use codecs::json::{Escape, write_text};
use codecs::record::Text;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What assertions are made of.
pub(super) struct Assertion {
    key: RsaKeyPair,
    /// The first part, encoded.
    header: String,
    client_id: String,
    audience: String,
    lasts: Duration,
}

impl Assertion {
    /// Reads key and certificate. `header` names the thumbprint: SHA-256 for `x5t#S256`, else SHA-1; hexadecimal unless
    /// it is one of the `x5t`.
    pub(super) fn new(
        key: &str,
        certificate: &str,
        header: &str,
        client_id: &str,
        audience: &str,
        lasts: Duration,
    ) -> Result<Assertion, String> {
        let wrong =
            |option: &str, path: &str, error: String| format!("`oauth2.{option}` is `{path}`: {error}");
        let der = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong("jwt_key_file", key, e.to_string()))?;
        let pair = match &der {
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            other => RsaKeyPair::from_der(other.secret_der()),
        };
        let pair = pair.map_err(|e| wrong("jwt_key_file", key, format!("not an RSA key: {e}")))?;
        let certificate = CertificateDer::from_pem_file(certificate)
            .or_else(|error| std::fs::read(certificate).map(CertificateDer::from).map_err(|_| error))
            .map_err(|e| wrong("jwt_cert_file", certificate, e.to_string()))?;
        let name = header.to_ascii_lowercase();
        let algorithm = if name == "x5t#s256" { &SHA256 } else { &SHA1_FOR_LEGACY_USE_ONLY };
        let thumbprint = digest(algorithm, &certificate);
        let thumbprint = match name.as_str() {
            "x5t" | "x5t#s256" => base64_url(thumbprint.as_ref()),
            _ => thumbprint.as_ref().iter().map(|byte| format!("{byte:02X}")).collect(),
        };
        let head = format!(r#"{{"alg":"RS256","typ":"JWT",{}:"{thumbprint}"}}"#, json(header));
        Ok(Assertion {
            key: pair,
            header: base64_url(head.as_bytes()),
            client_id: json(client_id),
            audience: json(audience),
            lasts,
        })
    }

    /// An assertion that is good from `now` on.
    pub(super) fn sign(&self, now: SystemTime) -> Result<String, String> {
        let random = SystemRandom::new();
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = format!(
            r#"{{"iss":{id},"sub":{id},"aud":{},"iat":{now},"exp":{},"jti":"{}"}}"#,
            self.audience,
            now.saturating_add(self.lasts.as_secs()),
            uuid(&random)?,
            id = self.client_id,
        );
        let mut text = format!("{}.{}", self.header, base64_url(claims.as_bytes()));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)
            .map_err(|_| "cannot sign with `oauth2.jwt_key_file`".to_owned())?;
        text.push('.');
        text.push_str(&base64_url(&signature));
        Ok(text)
    }
}

/// A random UUID (version 4).
fn uuid(random: &SystemRandom) -> Result<String, String> {
    let mut bytes = [0; 16];
    random.fill(&mut bytes).map_err(|_| "the system has no random numbers".to_owned())?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

/// Base64 for URLs, without padding.
fn base64_url(bytes: &[u8]) -> String {
    aws_smithy_types::base64::encode(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

/// A JSON string.
fn json(text: &str) -> String {
    let mut out = Vec::new();
    write_text(&mut out, Text::new(text.as_bytes()), Escape::Unicode);
    String::from_utf8_lossy(&out).into_owned()
}
