//! stub
use crate::monitor::Monitor;
use std::sync::Arc;
/// b
pub fn bind(listen: &str, port: u16) -> std::io::Result<std::net::TcpListener> { std::net::TcpListener::bind((listen, port)) }
/// s
pub async fn serve(_l: std::net::TcpListener, _m: Arc<Monitor>) {}
