//! The HTTP client under the SDK: hyper on rustls, with the `net.*` and `tls.*` options and HTTPS through a proxy.
//!
//! Owns: connections and their pool. Never: retries, signs, or reads a body; the SDK and the engine do.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http::Uri;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tower_service::Service;

type BoxError = Box<dyn Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// The `net.*` settings that a connection has.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Longest time for a connection to open, its TLS handshake included.
    pub connect: Duration,
    /// How long an idle connection is kept; `None` closes each after its request.
    pub keepalive: Option<Duration>,
    /// Address that connections start from.
    pub source: Option<IpAddr>,
    /// Look at `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
    pub proxy: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(10),
            keepalive: Some(Duration::from_secs(30)),
            source: None,
            proxy: true,
        }
    }
}

/// How HTTPS is spoken.
#[derive(Clone, Debug)]
pub struct Tls {
    /// What is trusted, and what we show of ourselves.
    pub config: Arc<ClientConfig>,
    /// Name that is asked for and checked, where it is not the host.
    pub name: Option<ServerName<'static>>,
}

impl Tls {
    /// Trusts nobody: for connections that need no TLS.
    pub fn none() -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks the default versions")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        Tls { config: Arc::new(config), name: None }
    }
}

/// An HTTP client for the SDK. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Transport {
    client: Client<Timed, SdkBody>,
}

impl Transport {
    /// Reads the proxy environment (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`); opens nothing.
    pub fn new(tls: &Tls, limits: &Limits) -> Self {
        let mut tcp = Tcp::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        tcp.set_local_address(limits.source);
        let dialer = Dialer {
            tcp,
            proxy: Arc::new(if limits.proxy { proxy_from_env() } else { Matcher::builder().build() }),
        };
        let mut builder =
            HttpsConnectorBuilder::new().with_tls_config(ClientConfig::clone(&tls.config)).https_or_http();
        if let Some(name) = &tls.name {
            builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name.clone()));
        }
        let inner = builder.enable_http1().wrap_connector(dialer);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits.keepalive.unwrap_or_default())
            .pool_max_idle_per_host(if limits.keepalive.is_some() { usize::MAX } else { 0 })
            .build(Timed { inner, limit: limits.connect });
        Transport { client }
    }
}

impl HttpConnector for Transport {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.client.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let response = client.request(request).await.map_err(connector_error)?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

impl HttpClient for Transport {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

/// A failed exchange, as the SDK sorts them.
fn connector_error(error: hyper_util::client::legacy::Error) -> ConnectorError {
    match error.is_connect() && error.source().is_some_and(|cause| cause.is::<tokio::time::error::Elapsed>())
    {
        true => ConnectorError::timeout(error.into()),
        false => ConnectorError::io(error.into()),
    }
}

/// The proxy for HTTPS: `HTTPS_PROXY`, else `HTTP_PROXY` as in Fluent Bit, in either case of letters.
fn proxy_from_env() -> Matcher {
    let first = |names: &[&str]| {
        names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    };
    let proxy = first(&["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"]).unwrap_or_default();
    Matcher::builder().https(proxy).no(first(&["NO_PROXY", "no_proxy"]).unwrap_or_default()).build()
}

/// Opens TCP connections, for HTTPS through a proxy where one is set. Plain HTTP is never proxied: it is spoken
/// with the metadata services of the host (IMDS, ECS, EKS pod identity) and with local endpoints.
#[derive(Clone)]
struct Dialer {
    tcp: Tcp,
    proxy: Arc<Matcher>,
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        match self.proxy.intercept(&to) {
            Some(proxy) => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), self.tcp.clone());
                if let Some(auth) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                Box::pin(async move { tunnel.call(to).await.map_err(Into::into) })
            }
            None => {
                let dialing = self.tcp.call(to);
                Box::pin(async move { dialing.await.map_err(Into::into) })
            }
        }
    }
}

/// Opens connections within a time that covers name, TCP, proxy and TLS handshake.
#[derive(Clone)]
struct Timed {
    inner: HttpsConnector<Dialer>,
    limit: Duration,
}

impl Service<Uri> for Timed {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (connecting, limit) = (self.inner.call(to), self.limit);
        Box::pin(async move { tokio::time::timeout(limit, connecting).await? })
    }
}
