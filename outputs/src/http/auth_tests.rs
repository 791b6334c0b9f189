//! AWS signatures and OAuth2 against servers on loopback.

use super::PLUGIN;
use super::auth::{Auth, Signer};
use crate::aws::{Account, Limits, Tls};
use crate::fakes::http::{Answer, Request, Server};
use crate::testing::{RECORDS, chunk, configure, segment};
use crate::{Output, Verdict};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use bytes::Bytes;
use http_body_util::Full;
use ring::digest::{SHA256, digest};
use ring::hmac;
use std::sync::{Arc, Mutex};

const DELIVERED: Verdict = Verdict::Delivered { dropped: 0 };
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/client.key");
const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/client.crt");

/// What a server answers to its request of this number.
type Answers = fn(usize, &Request) -> Answer;

/// A server that answers by a function of the number of the request, and remembers the requests.
async fn server(answer: Answers) -> (Server, Arc<Mutex<Vec<Request>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let remember = seen.clone();
    let server = Server::start(
        None,
        Arc::new(move |request: Request| {
            let mut seen = remember.lock().expect("lock");
            let answer = answer(seen.len(), &request);
            seen.push(request);
            Box::pin(async move { answer })
        }),
    );
    (server.await.expect("a port"), seen)
}

fn output(port: u16, entries: &[(&str, &str)]) -> Arc<dyn Output> {
    let port = port.to_string();
    let mut all = vec![("port", port.as_str()), ("net.proxy_env_ignore", "on")];
    all.extend_from_slice(entries);
    configure(&PLUGIN, &all).expect("valid")
}

async fn deliver(output: &dyn Output) -> Verdict {
    output.deliver(&mut chunk(vec![segment(output, "a", RECORDS)])).await
}

fn ok(body: &str) -> Answer {
    Answer { status: 200, body: body.as_bytes().to_vec(), ..Answer::default() }
}

fn status(status: u16) -> Answer {
    Answer { status, ..Answer::default() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The signature as the documentation of Signature Version 4 has it, by another way than the product's.
fn signature(request: &Request, secret: &str, scope: &str, signed: &str) -> String {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let mut query: Vec<&str> = query.split('&').collect();
    query.sort_unstable();
    let headers: String =
        signed.split(';').map(|name| format!("{name}:{}\n", request.header(name))).collect();
    let canonical = format!(
        "{}\n{}\n{}\n{headers}\n{signed}\n{}",
        request.method,
        path.replace('%', "%25"),
        query.join("&"),
        hex(digest(&SHA256, &request.body).as_ref())
    );
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        request.header("x-amz-date"),
        hex(digest(&SHA256, canonical.as_bytes()).as_ref())
    );
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in scope.split('/').chain([text.as_str()]) {
        key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
    }
    hex(&key)
}

/// What a signer makes of a request: the request, as a server would see it.
async fn signed(service: &str, credentials: Credentials, body: &'static [u8]) -> Request {
    let account = Account {
        credentials: Some(SharedCredentialsProvider::new(credentials)),
        region: "eu-west-1".to_owned(),
        ..Account::default()
    };
    let auth = Auth::Aws(Box::new(Signer::of(service.to_owned(), account, Limits::default(), Tls::none())));
    let mut request = http::Request::new(Full::new(Bytes::from_static(body)));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = "/a%20b/c?z=1&b=2".parse().expect("a URI");
    request.headers_mut().insert("host", "logs.example".parse().expect("a value"));
    request.headers_mut().insert("content-type", "application/json".parse().expect("a value"));
    let grant = auth.grant().await.expect("credentials");
    auth.apply(&grant, &mut request, body, "logs.example:80").expect("signed");
    let headers = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().expect("text").to_owned()));
    Request {
        method: "POST".to_owned(),
        path: request.uri().to_string(),
        headers: headers.collect(),
        body: body.to_vec(),
    }
}

#[tokio::test]
async fn requests_are_signed() {
    for token in [None, Some("session")] {
        let credentials = Credentials::new("AKIA", "secret", token.map(str::to_owned), None, "test");
        let request = signed("es", credentials, b"{}").await;
        let scope = format!("{}/eu-west-1/es/aws4_request", &request.header("x-amz-date")[..8]);
        let begin = format!("AWS4-HMAC-SHA256 Credential=AKIA/{scope}, SignedHeaders=");
        let rest = request.header("authorization").strip_prefix(&begin).expect("the scheme");
        let (signed, found) = rest.split_once(", Signature=").expect("a signature");
        assert_eq!(found, signature(&request, "secret", &scope, signed));
        let token_signed = if token.is_some() { ";x-amz-security-token" } else { "" };
        assert_eq!(signed, format!("content-type;host;x-amz-date{token_signed}"));
        assert_eq!(request.header("x-amz-security-token"), token.unwrap_or_default());
        assert_eq!(request.header("x-amz-content-sha256"), "");
    }
    let s3 = signed("s3", Credentials::new("AKIA", "secret", None, None, "test"), b"{}").await;
    assert_eq!(s3.header("x-amz-content-sha256"), hex(digest(&SHA256, b"{}").as_ref()));
}

#[tokio::test]
async fn only_credentials_that_change_are_replaced_when_they_are_refused() {
    let never = Credentials::new("AKIA", "secret", None, None, "test");
    let hour = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    let soon = Credentials::new("ASIA", "secret", None, Some(hour), "test");
    for (credentials, again) in [(never, false), (soon, true)] {
        let provider = SharedCredentialsProvider::new(credentials.clone());
        let account = Account { credentials: Some(provider), region: "x".to_owned(), ..Account::default() };
        let auth = Auth::Aws(Box::new(Signer::of("es".to_owned(), account, Limits::default(), Tls::none())));
        let grant = auth.grant().await.expect("credentials");
        assert!(!auth.refused(http::StatusCode::BAD_REQUEST, &grant).await);
        assert_eq!(auth.refused(http::StatusCode::FORBIDDEN, &grant).await, again);
    }
}

#[tokio::test]
async fn a_token_is_kept_renewed_and_replaced_when_it_is_refused() {
    let (tokens, asked) =
        server(|n, _| ok(&format!(r#"{{"token_type":"bearer","expires_in":3600,"access_token":"t{n}"}}"#)))
            .await;
    let url = format!("http://{}/token?x=1", tokens.address);
    // The third request is refused for its token.
    let (target, seen) = server(|n, _| status(if n == 2 { 401 } else { 200 })).await;
    let output = output(
        target.address.port(),
        &[
            ("oauth2.enable", "on"),
            ("oauth2.token_url", &url),
            ("oauth2.client_id", "id"),
            ("oauth2.client_secret", "se&cret"),
            ("oauth2.scope", "logs write"),
            ("oauth2.audience", "aud"),
            ("oauth2.resource", "res"),
            ("oauth2.user_agent", "us"),
            ("http_user", "not"),
            ("http_passwd", "this"),
        ],
    );
    for _ in 0..4 {
        assert_eq!(deliver(&*output).await, DELIVERED);
    }
    let used: Vec<String> =
        seen.lock().expect("lock").iter().map(|request| request.header("authorization").to_owned()).collect();
    assert_eq!(used, ["Bearer t0", "Bearer t0", "Bearer t0", "Bearer t1", "Bearer t1"]);
    let asked = asked.lock().expect("lock");
    let request = &asked[0];
    assert_eq!((asked.len(), request.path.as_str(), request.method.as_str()), (2, "/token?x=1", "POST"));
    assert_eq!(
        String::from_utf8_lossy(&request.body),
        "grant_type=client_credentials&scope=logs%20write&audience=aud&resource=res"
    );
    for (name, value) in [
        ("authorization", "Basic aWQ6c2UmY3JldA=="),
        ("content-type", "application/x-www-form-urlencoded"),
        ("user-agent", "us"),
    ] {
        assert_eq!(request.header(name), value);
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    for (expires, skew, asked_for) in
        [("\"expires_in\":3600,", "60", 1), ("\"expires_in\":0,", "0", 3), ("", "60", 1)]
    {
        let body = format!(r#"{{"token_type":"bearer",{expires}"access_token":"t"}}"#);
        let seen = Arc::new(Mutex::new(0));
        let count = seen.clone();
        let tokens = Server::start(
            None,
            Arc::new(move |_| {
                *count.lock().expect("lock") += 1;
                let answer = ok(&body);
                Box::pin(async move { answer })
            }),
        );
        let tokens = tokens.await.expect("a port");
        let url = format!("http://{}", tokens.address);
        let (target, _) = server(|_, _| status(200)).await;
        let output = output(
            target.address.port(),
            &[
                ("oauth2.enable", "on"),
                ("oauth2.token_url", &url),
                ("oauth2.client_id", "id"),
                ("oauth2.client_secret", "s"),
                ("oauth2.refresh_skew_seconds", skew),
            ],
        );
        for _ in 0..3 {
            deliver(&*output).await;
        }
        assert_eq!(*seen.lock().expect("lock"), asked_for, "{expires}");
    }
}

#[tokio::test]
async fn without_a_token_nothing_goes_out() {
    let (target, seen) = server(|_, _| status(200)).await;
    let answers: [(Answers, &str); 3] = [
        (|_, _| Answer { status: 401, ..ok(r#"{"error":"invalid_client"}"#) }, "answers 401, invalid_client"),
        (|_, _| ok(r#"{"token":"x"}"#), "without an access_token"),
        (|_, _| ok("<html>"), "without an access_token"),
    ];
    for (answer, told) in answers {
        let (tokens, _) = server(answer).await;
        let url = format!("http://{}", tokens.address);
        let entries = [
            ("oauth2.enable", "on"),
            ("oauth2.token_url", url.as_str()),
            ("oauth2.client_id", "id"),
            ("oauth2.client_secret", "top-secret"),
        ];
        let verdict = deliver(&*output(target.address.port(), &entries)).await;
        let Verdict::Retry { reason, .. } = verdict else { panic!("{verdict:?}") };
        assert!(reason.contains("no OAuth2 token") && reason.contains(told), "{reason}");
        assert!(!reason.contains("top-secret"), "{reason}");
    }
    assert!(seen.lock().expect("lock").is_empty());
}

/// The parts of an assertion, decoded, where its signature is that of our key.
fn opened(assertion: &str) -> [String; 2] {
    let decode = |text: &str| {
        let mut text = text.replace('-', "+").replace('_', "/");
        while !text.len().is_multiple_of(4) {
            text.push('=');
        }
        aws_smithy_types::base64::decode(text).expect("base64")
    };
    let (signed, signature) = assertion.rsplit_once('.').expect("three parts");
    let pem = std::fs::read_to_string(KEY).expect("a key");
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let key = ring::signature::RsaKeyPair::from_pkcs8(&decode(&body)).expect("an RSA key");
    let public: Vec<u8> = key.public().as_ref().to_vec();
    ring::signature::UnparsedPublicKey::new(&ring::signature::RSA_PKCS1_2048_8192_SHA256, public)
        .verify(signed.as_bytes(), &decode(signature))
        .expect("our signature");
    let (head, claims) = signed.split_once('.').expect("three parts");
    [head, claims].map(|part| String::from_utf8(decode(part)).expect("text"))
}

#[tokio::test]
async fn who_we_are_is_told_in_the_body_or_by_an_assertion() {
    for (entries, head, aud) in [
        (&[("oauth2.auth_method", "post"), ("oauth2.client_secret", "s")][..], None, ""),
        (
            &[
                ("oauth2.auth_method", "private_key_jwt"),
                ("oauth2.jwt_aud", "aud"),
                ("oauth2.jwt_ttl_seconds", "60"),
            ],
            Some("\"kid\":\""),
            "aud",
        ),
        (
            &[("oauth2.auth_method", "private_key_jwt"), ("oauth2.jwt_header", "x5t#S256")],
            Some("\"x5t#S256\":\""),
            "http://",
        ),
    ] {
        let (tokens, asked) = server(|_, _| ok(r#"{"access_token":"t"}"#)).await;
        let (target, _) = server(|_, _| status(200)).await;
        let url = format!("http://{}", tokens.address);
        let mut all = vec![
            ("oauth2.enable", "on"),
            ("oauth2.token_url", url.as_str()),
            ("oauth2.client_id", "id"),
            ("oauth2.jwt_key_file", KEY),
            ("oauth2.jwt_cert_file", CERTIFICATE),
        ];
        all.extend_from_slice(entries);
        assert_eq!(deliver(&*output(target.address.port(), &all)).await, DELIVERED);
        let request = asked.lock().expect("lock")[0].clone();
        let form = String::from_utf8_lossy(&request.body).into_owned();
        assert_eq!(request.header("authorization"), "");
        let Some(head) = head else {
            assert_eq!(form, "grant_type=client_credentials&client_id=id&client_secret=s");
            continue;
        };
        let begin = "grant_type=client_credentials&client_id=id&client_assertion_type=\
                     urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=";
        let [header, claims] = opened(form.strip_prefix(begin).expect(&form));
        assert!(header.starts_with(&format!("{{\"alg\":\"RS256\",\"typ\":\"JWT\",{head}")), "{header}");
        assert!(claims.starts_with(&format!("{{\"iss\":\"id\",\"sub\":\"id\",\"aud\":\"{aud}")), "{claims}");
        let number = |key: &str| {
            let rest = claims.split_once(&format!("\"{key}\":")).expect(&claims).1;
            rest.split(',').next().and_then(|text| text.parse::<u64>().ok()).expect("a number")
        };
        assert_eq!(number("exp") - number("iat"), if aud == "aud" { 60 } else { 300 });
    }
}

#[test]
fn what_authorisation_needs_is_said() {
    for (entries, part) in [
        (&[("aws_auth", "on"), ("aws_region", "x")][..], "needs `aws_service`"),
        (&[("aws_auth", "on"), ("aws_service", "es")], "needs `aws_region`"),
        (&[("oauth2.enable", "on"), ("aws_auth", "on")], "cannot both be on"),
        (&[("oauth2.enable", "on")], "`oauth2.token_url` is ``"),
        (&[("oauth2.enable", "on"), ("oauth2.token_url", "ftp://x")], "`oauth2.token_url` is `ftp://x`"),
        (&[("oauth2.enable", "on"), ("oauth2.token_url", "http://x")], "needs `oauth2.client_id`"),
        (
            &[
                ("oauth2.enable", "on"),
                ("oauth2.token_url", "https://x/t"),
                ("oauth2.client_id", "i"),
                ("oauth2.auth_method", "private_key_jwt"),
            ],
            "`private_key_jwt` needs",
        ),
        (&[("oauth2.auth_method", "digest")], "`oauth2.auth_method` is `digest`"),
    ] {
        let error = configure(&PLUGIN, entries).err().unwrap_or_default();
        assert!(error.contains(part), "{entries:?}: {error}");
    }
}
