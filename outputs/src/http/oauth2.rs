//! OAuth2 client credentials: a token for our requests, asked for when it is needed and kept while it is good.
//!
//! Owns: `oauth2.*`, the request to the token server, how long a token is used. Never: writes a secret or a token into a
//! message. Invariant: one request for a token at a time; the other lanes wait for its answer.

use super::jwt::Assertion;
use super::{Check, FOREVER};
use crate::client::{Answer, Client, Endpoint, Limits};
use crate::net::NetOptions;
use bytes::Bytes;
use codecs::Bump;
use codecs::conf::values::{Bool, Int, Seconds, Text};
use codecs::json::{Scratch, parse_object};
use codecs::record::{Record, Timestamp, Value};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use rustls::pki_types::ServerName;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Mutex;

codecs::choice! {
    /// How we say who we are.
    pub enum AuthMethod {
        /// In a header.
        Basic "basic",
        /// In the body.
        Post "post",
        /// By an assertion signed with our key.
        PrivateKeyJwt "private_key_jwt",
    }
}

codecs::options! {
    /// OAuth2 client credentials.
    pub struct OAuth2Options {
        /// Get a token for requests by OAuth2 client credentials.
        enable "oauth2.enable": One<Bool> = "false",
        /// URL that tokens come from.
        token_url "oauth2.token_url": Opt<Text>,
        /// Our ID.
        client_id "oauth2.client_id": Opt<Text>,
        /// Our secret; not needed with `private_key_jwt`.
        client_secret "oauth2.client_secret": Opt<Text>,
        /// `User-Agent` of requests for a token.
        user_agent "oauth2.user_agent": Opt<Text>,
        /// Scope to ask for.
        scope "oauth2.scope": Opt<Text>,
        /// Audience to ask for.
        audience "oauth2.audience": Opt<Text>,
        /// Resource to ask for.
        resource "oauth2.resource": Opt<Text>,
        /// How we say who we are: in a header, in the body, or by a signed assertion.
        auth_method "oauth2.auth_method": One<AuthMethod> = "basic",
        /// Our RSA key (PEM), for `private_key_jwt`.
        jwt_key_file "oauth2.jwt_key_file": Opt<Text>,
        /// The certificate of that key, for its thumbprint.
        jwt_cert_file "oauth2.jwt_cert_file": Opt<Text>,
        /// Audience of the assertion; without it, the URL that tokens come from.
        jwt_aud "oauth2.jwt_aud": Opt<Text>,
        /// Name of the thumbprint in the assertion: `kid`, `x5t` or `x5t#S256`.
        jwt_header "oauth2.jwt_header": One<Text> = "kid",
        /// How long an assertion is good.
        jwt_ttl_seconds "oauth2.jwt_ttl_seconds": One<Int> = "300",
        /// Get a new token so long before the old one expires.
        refresh_skew_seconds "oauth2.refresh_skew_seconds": One<Int> = "60",
        /// The longest to wait for a token; 0 takes `http.response_timeout`.
        timeout "oauth2.timeout": One<Seconds> = "0s",
        /// The longest to wait for a connection; 0 takes `net.connect_timeout`.
        connect_timeout "oauth2.connect_timeout": One<Seconds> = "0s",
    }
}

/// How much of a token server's answer is read.
const ANSWER_MAX: usize = 64 * 1024;

/// Gets tokens and keeps the last one.
pub(super) struct OAuth2 {
    client: Client,
    uri: Uri,
    headers: HeaderMap,
    /// The form, without the assertion.
    form: String,
    assertion: Option<Assertion>,
    timeout: Duration,
    skew: Duration,
    token: Mutex<Option<Token>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Token {
    /// `Bearer …`.
    value: HeaderValue,
    /// When the next one is asked for; a server that does not say how long a token is good lets us try.
    renew: Option<Instant>,
}

impl OAuth2 {
    /// Reads the options; what is wrong is reported. Opens no connection, but reads key and certificate.
    pub(super) fn new(
        options: OAuth2Options,
        net: &NetOptions,
        response: Option<Duration>,
        check: &mut Check<'_>,
    ) -> Option<OAuth2> {
        let url = text(&options.token_url);
        let (endpoint, uri) = check.take("oauth2.token_url", endpoint(url))?;
        let headers = check.take("oauth2.client_id", headers(&options, &endpoint))?;
        let assertion = match options.auth_method {
            AuthMethod::PrivateKeyJwt => Some(check.take("oauth2.auth_method", assertion(&options))?),
            _ => None,
        };
        let mut net = net.clone();
        if options.connect_timeout.0 > 0.0 {
            net.connect_timeout = options.connect_timeout;
        }
        let timeout = super::limit(options.timeout.0).or(response).unwrap_or(FOREVER);
        let client = check.take("net.source_address", Client::new(endpoint, net))?;
        Some(OAuth2 {
            client,
            uri,
            headers,
            form: form(&options),
            assertion,
            timeout,
            skew: Duration::from_secs(options.refresh_skew_seconds.0.max(0) as u64),
            token: Mutex::new(None),
        })
    }

    /// The token that is good now.
    pub(super) async fn token(&self) -> Result<HeaderValue, String> {
        let mut token = self.token.lock().await;
        if let Some(token) = token.as_ref().filter(|t| t.renew.is_none_or(|at| Instant::now() < at)) {
            return Ok(token.value.clone());
        }
        let new = self.ask().await.map_err(|reason| format!("no OAuth2 token: {reason}"))?;
        Ok(token.insert(new).value.clone())
    }

    /// Forgets a token that was refused, unless it was replaced already.
    pub(super) async fn forget(&self, refused: &HeaderValue) {
        let mut token = self.token.lock().await;
        if token.as_ref().is_some_and(|token| token.value == refused) {
            *token = None;
        }
    }

    async fn ask(&self) -> Result<Token, String> {
        let mut form = self.form.clone();
        if let Some(assertion) = &self.assertion {
            append(
                &mut form,
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            );
            append(&mut form, "client_assertion", &assertion.sign(SystemTime::now())?);
        }
        let mut request = Request::new(Full::new(Bytes::from(form)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let limits = Limits { response: self.timeout, idle: self.timeout, body_bytes: ANSWER_MAX };
        let answer = self.client.send(request, limits).await?;
        self.read(&answer)
    }

    fn read(&self, answer: &Answer) -> Result<Token, String> {
        let server = self.client.authority();
        if answer.status != StatusCode::OK {
            let error = field(&answer.body, b"error").map_or(String::new(), |error| format!(", {error}"));
            return Err(format!("{server} answers {}{error}", answer.status.as_u16()));
        }
        let token = field(&answer.body, b"access_token")
            .ok_or_else(|| format!("{server} answers without an access_token"))?;
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| format!("{server}: the access_token holds characters that a header cannot hold"))?;
        value.set_sensitive(true);
        let seconds: Option<f64> = field(&answer.body, b"expires_in").and_then(|text| text.parse().ok());
        let good = seconds.map(crate::net::duration);
        // A tenth less, and the skew; but a token that is good for less than that is used for half its time.
        let used = good.map(|good| good.mul_f64(0.9).saturating_sub(self.skew).max(good / 2));
        Ok(Token { value, renew: used.map(|used| Instant::now() + used) })
    }
}

fn text(option: &Option<Text>) -> &str {
    option.as_ref().map_or("", |Text(text)| text)
}

/// Where tokens come from; the error is the rule that the URL breaks.
fn endpoint(url: &str) -> Result<(Endpoint, Uri), String> {
    let rule = || format!("`oauth2.token_url` is `{url}`, not http://host/path or https://host/path");
    let uri: Uri = url.trim().parse().map_err(|_| rule())?;
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(rule());
    };
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let tls = match scheme {
        "https" => {
            let name = ServerName::try_from(host.clone()).map_err(|_| rule())?;
            Some((crate::tls::of_the_system()?, name))
        }
        _ => None,
    };
    let port = authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).parse().map_err(|_| rule())?;
    Ok((Endpoint { host, port, tls, proxy: None }, path))
}

fn headers(options: &OAuth2Options, endpoint: &Endpoint) -> Result<HeaderMap, String> {
    let (id, secret) = (text(&options.client_id), text(&options.client_secret));
    let method = options.auth_method;
    if id.is_empty() || (secret.is_empty() && method != AuthMethod::PrivateKeyJwt) {
        return Err("`oauth2.auth_method` needs `oauth2.client_id` and `oauth2.client_secret`".to_owned());
    }
    let value = |text: &str| {
        HeaderValue::from_str(text)
            .map_err(|_| "an `oauth2` option holds what a header cannot hold".to_owned())
    };
    let mut headers = HeaderMap::new();
    let host =
        if endpoint.host.contains(':') { format!("[{}]", endpoint.host) } else { endpoint.host.clone() };
    headers.insert(
        HOST,
        match endpoint.port {
            80 | 443 => value(&host)?,
            port => value(&format!("{host}:{port}"))?,
        },
    );
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    if let Some(Text(agent)) = &options.user_agent {
        headers.insert(USER_AGENT, value(agent)?);
    }
    if method == AuthMethod::Basic {
        let mut authorization = value(&crate::client::basic(&format!("{id}:{secret}")))?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
    }
    Ok(headers)
}

/// The form of a request, as far as it is always the same.
fn form(options: &OAuth2Options) -> String {
    let mut form = String::new();
    append(&mut form, "grant_type", "client_credentials");
    for (key, value) in
        [("scope", &options.scope), ("audience", &options.audience), ("resource", &options.resource)]
    {
        if let Some(Text(value)) = value {
            append(&mut form, key, value);
        }
    }
    if options.auth_method != AuthMethod::Basic {
        append(&mut form, "client_id", text(&options.client_id));
    }
    if options.auth_method == AuthMethod::Post {
        append(&mut form, "client_secret", text(&options.client_secret));
    }
    form
}

fn assertion(options: &OAuth2Options) -> Result<Assertion, String> {
    let (Some(Text(key)), Some(Text(certificate))) = (&options.jwt_key_file, &options.jwt_cert_file) else {
        return Err("`private_key_jwt` needs `oauth2.jwt_key_file` and `oauth2.jwt_cert_file`".to_owned());
    };
    let audience = options.jwt_aud.as_ref().or(options.token_url.as_ref()).map_or("", |Text(text)| text);
    let lasts =
        Duration::from_secs(u64::try_from(options.jwt_ttl_seconds.0).ok().filter(|n| *n > 0).unwrap_or(300));
    Assertion::new(key, certificate, &options.jwt_header.0, text(&options.client_id), audience, lasts)
}

/// Adds a field to a form.
fn append(form: &mut String, key: &str, value: &str) {
    if !form.is_empty() {
        form.push('&');
    }
    form.push_str(key);
    form.push('=');
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                form.push(char::from(byte))
            }
            _ => form.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// A field of a JSON object, as text.
fn field(body: &[u8], key: &[u8]) -> Option<String> {
    let arena = Bump::new();
    let mut record = Record::new_in(&arena, Timestamp::default());
    parse_object(body, &arena, &mut Scratch::default(), &mut record.fields).ok()?;
    match record.get(key)? {
        Value::Text(text) => std::str::from_utf8(text.bytes).ok().map(str::to_owned),
        Value::Number(number) => std::str::from_utf8(number).ok().map(str::to_owned),
        _ => None,
    }
}
