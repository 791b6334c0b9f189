//! Listening inputs as their senders see them: answers, back-pressure, TLS, and whatever else comes over a socket.
//!
//! Owns: senders of each kind. Never: looks inside the engine.

use crate::rig::engine::{Engine, counts, free_port};
use crate::rig::sink::Sink;
use crate::rig::{Dice, Folder, wait_for};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// An input to an http output that posts JSON lines to `sink`.
fn conf(service: &str, input: &str, sink: u16) -> String {
    format!(
        "[SERVICE]\n flush 0.2\n grace 3\n scheduler.base 1\n scheduler.cap 1\n{service}\
         {input}\
         [OUTPUT]\n name http\n match *\n host 127.0.0.1\n port {sink}\n format json_lines\n workers 1\n"
    )
}

fn input(name: &str, port: u16, more: &str) -> String {
    format!("[INPUT]\n name {name}\n listen 127.0.0.1\n port {port}\n tag t\n{more}")
}

/// A connection, as soon as somebody listens.
fn connect(port: u16) -> TcpStream {
    let mut stream = None;
    wait_for(PATIENCE, || {
        stream = TcpStream::connect(("127.0.0.1", port)).ok();
        stream.is_some()
    });
    let stream = stream.unwrap_or_else(|| panic!("nobody listens on {port}"));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A message of the Forward protocol with one event and a chunk.
fn message(number: u64) -> Vec<u8> {
    let (log, chunk) = (format!("a {number:08}"), format!("c{number}"));
    let mut bytes = b"\x94\xa1t\x01\x81\xa3log".to_vec();
    bytes.push(0xa0 | log.len() as u8);
    bytes.extend_from_slice(log.as_bytes());
    bytes.extend_from_slice(b"\x81\xa5chunk");
    bytes.push(0xa0 | chunk.len() as u8);
    bytes.extend_from_slice(chunk.as_bytes());
    bytes
}

/// Reads an acknowledgement of a chunk `c…`.
fn acknowledged(stream: &mut TcpStream) -> Option<u64> {
    let mut head = [0; 6];
    stream.read_exact(&mut head).ok()?;
    assert_eq!(&head[..5], b"\x81\xa3ack");
    let mut chunk = vec![0; usize::from(head[5] & 0x1f)];
    stream.read_exact(&mut chunk).ok()?;
    String::from_utf8(chunk).ok()?.strip_prefix('c')?.parse().ok()
}

fn logs(sink: &Sink) -> Vec<String> {
    sink.logs()
}

#[test]
fn what_forward_acknowledged_survives_a_kill() {
    let (folder, sink, port) = (Folder::new(), Sink::start(), free_port());
    let mut acked = Vec::new();
    for round in 0..3u64 {
        let engine = Engine::start(folder.path(), &conf("", &input("forward", port, ""), sink.port()));
        let mut stream = connect(port);
        let mut sender = stream.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            for number in round * 10_000..round * 10_000 + 10_000 {
                if sender.write_all(&message(number)).is_err() {
                    return;
                }
            }
        });
        while let Some(number) = acknowledged(&mut stream) {
            acked.push(number);
            if acked.len() as u64 >= (round + 1) * 300 {
                break;
            }
        }
        engine.kill();
        drop(stream);
        writer.join().unwrap();
    }
    assert!(acked.len() >= 900, "{}", acked.len());
    let arrived: std::collections::HashSet<String> = logs(&sink).into_iter().collect();
    for number in acked {
        assert!(arrived.contains(&format!("a {number:08}")), "{number} was acknowledged and never arrived");
    }
}

#[test]
fn forward_acknowledges_in_less_than_a_flush() {
    let (folder, sink, port) = (Folder::new(), Sink::start(), free_port());
    let _engine =
        Engine::start(folder.path(), &conf(" flush 3600\n", &input("forward", port, ""), sink.port()));
    let mut stream = connect(port);
    for number in 0..20 {
        stream.write_all(&message(number)).unwrap();
        assert_eq!(acknowledged(&mut stream), Some(number));
    }
    assert_eq!(sink.count(), 20);
}

/// Sends a request with these bytes as its body; gives the answer's first line.
fn post(stream: &mut TcpStream, body: &[u8]) -> String {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    if stream.write_all(&[head.as_bytes(), body].concat()).is_err() {
        return String::new();
    }
    let mut answer = Vec::new();
    while !answer.windows(4).any(|w| w == b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            break;
        }
        answer.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    let length = text.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut rest = vec![0; length];
    drop(stream.read_exact(&mut rest));
    text.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn http_says_503_when_there_is_no_room_and_loses_nothing_that_it_took() {
    let (folder, sink, port) = (Folder::new(), Sink::start(), free_port());
    sink.answer(503);
    let engine =
        Engine::start(folder.path(), &conf(" memory_limit 4M\n", &input("http", port, ""), sink.port()));
    let mut stream = connect(port);
    let (mut taken, mut refused) = (0u64, false);
    while !refused && taken < 200 {
        let text = "x".repeat(200_000);
        let line = post(&mut stream, format!(r#"{{"log":"a {taken:08}","text":"{text}"}}"#).as_bytes());
        match line.as_str() {
            "HTTP/1.1 201 Created" => taken += 1,
            "HTTP/1.1 503 Service Unavailable" => refused = true,
            other => panic!("{other}\n{}", engine.messages()),
        }
    }
    assert!(refused && taken > 0, "{taken} were taken");
    sink.answer(200);
    wait_for(PATIENCE, || sink.count() as u64 >= taken);
    assert_eq!(sink.count() as u64, taken, "{}", engine.messages());
}

#[test]
fn tcp_stops_its_sender_while_nothing_can_be_delivered() {
    let (folder, sink, port) = (Folder::new(), Sink::start(), free_port());
    sink.answer(503);
    let engine =
        Engine::start(folder.path(), &conf(" memory_limit 4M\n", &input("tcp", port, ""), sink.port()));
    let mut stream = connect(port);
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let line = |n: u64| format!("{{\"log\":\"a {n:08}\",\"text\":\"{}\"}}\n", "x".repeat(1000)).into_bytes();
    let (mut sent, mut rest) = (0u64, Vec::new());
    // A million lines are more than all buffers between here and there hold.
    'sending: for number in 0..1_000_000 {
        let bytes = line(number);
        let mut at = 0;
        while at < bytes.len() {
            match stream.write(&bytes[at..]) {
                Ok(n) => at += n,
                Err(_) => {
                    rest = bytes[at..].to_vec();
                    sent = number + 1;
                    break 'sending;
                }
            }
        }
    }
    assert!(sent > 0, "the sender was never stopped");
    sink.answer(200);
    stream.set_write_timeout(None).unwrap();
    stream.write_all(&rest).unwrap();
    wait_for(PATIENCE, || sink.count() as u64 >= sent);
    let arrived = logs(&sink);
    assert_eq!(arrived.len() as u64, sent, "{}", engine.messages());
    assert!(arrived.iter().enumerate().all(|(n, log)| *log == format!("a {n:08}")), "in order");
}

#[test]
fn whatever_comes_over_a_socket_other_connections_go_on() {
    let (folder, sink) = (Folder::new(), Sink::start());
    let ports: Vec<u16> = (0..6).map(|_| free_port()).collect();
    let names = ["tcp", "tcp", "http", "forward", "syslog", "syslog"];
    let more = [
        "",
        " format none\n",
        "",
        "",
        " mode tcp\n parser any\n",
        " mode tcp\n parser any\n format octet_counting\n",
    ];
    let inputs: String = (0..6).map(|n| input(names[n], ports[n], more[n])).collect();
    let udp = free_port();
    let inputs = inputs + &input("udp", udp, "");
    std::fs::write(folder.path().join("p.conf"), "[PARSER]\n name any\n format regex\n regex ^(?<log>.*)$\n")
        .unwrap();
    let monitor = free_port();
    let service =
        format!(" parsers_file p.conf\n http_server on\n http_listen 127.0.0.1\n http_port {monitor}\n");
    let engine = Engine::start(folder.path(), &conf(&service, &inputs, sink.port()));
    let mut steady = connect(ports[1]);
    let mut dice = Dice::roll();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    for round in 0..120u64 {
        let port = ports[(round % 6) as usize];
        let mut stream = connect(port);
        // Some begin as they should.
        let begin: &[u8] = match dice.below(6) {
            0 => {
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n"
            }
            1 => b"\x93\xa1t\xc6\xff\xff\xff\xff",
            2 => b"[[[[[[[[[[[[{\"a\":",
            3 => b"999999999 ",
            4 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            _ => b"",
        };
        let mut bytes = begin.to_vec();
        bytes.extend((0..dice.below(3000)).map(|_| dice.below(256) as u8));
        drop(stream.write_all(&bytes));
        drop(datagrams.send_to(&bytes[..bytes.len().min(1400)], SocketAddr::from(([127, 0, 0, 1], udp))));
        steady.write_all(format!("steady {round}\n").as_bytes()).unwrap();
        if dice.below(2) == 0 {
            drop(stream);
        } else {
            // Left open, as if the sender had gone without a word.
            std::mem::forget(stream);
        }
    }
    let all = || logs(&sink).iter().filter(|log| log.starts_with("steady ")).count();
    assert!(wait_for(PATIENCE, || all() == 120), "{} of 120 arrived\n{}", all(), engine.messages());
    counts(monitor, "fluentbit_input_records_total", 120.0);
    assert!(!engine.messages().contains("panicked"), "{}", engine.messages());
    let (code, _) = engine.stop(Duration::from_secs(15));
    assert_eq!(code, Some(0));
}

/// A certificate authority, a server's certificate and a client's, as files in a folder.
struct Certificates {
    roots: RootCertStore,
    client: (rustls::pki_types::CertificateDer<'static>, Vec<u8>),
}

fn certificates(folder: &std::path::Path) -> Certificates {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(params, authority_key);
    let issue = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        (certificate, key)
    };
    let (server, server_key) = issue("localhost");
    let (client, client_key) = issue("client");
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(folder.join("crt.pem"), server.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), server_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    Certificates { roots, client: (client.der().clone(), client_key.serialize_der()) }
}

/// Sends a line over TLS, with a client's certificate or without; what went wrong, if something did.
fn send_by_tls(port: u16, certificates: &Certificates, known: bool, line: &[u8]) -> std::io::Result<()> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(certificates.roots.clone());
    let (certificate, key) = certificates.client.clone();
    let config = match known {
        true => builder.with_client_auth_cert(vec![certificate], PrivateKeyDer::Pkcs8(key.into())).unwrap(),
        false => builder.with_no_client_auth(),
    };
    let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, connect(port));
    stream.write_all(line)?;
    stream.flush()?;
    stream.conn.send_close_notify();
    stream.flush()?;
    // A refusal comes after the client has said all it had to say.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).map(drop)
}

#[test]
fn tls_takes_whom_it_is_told_to() {
    let (folder, sink, port, closed) = (Folder::new(), Sink::start(), free_port(), free_port());
    let certificates = certificates(folder.path());
    let tls = " format none\n tls on\n tls.crt_file crt.pem\n tls.key_file key.pem\n";
    let mutual = format!("{tls} tls.verify_client_cert on\n tls.ca_file ca.pem\n");
    let inputs = input("tcp", port, tls) + &input("tcp", closed, &mutual);
    let engine = Engine::start(folder.path(), &conf("", &inputs, sink.port()));
    send_by_tls(port, &certificates, false, b"open\n").expect("a server with a trusted certificate");
    send_by_tls(closed, &certificates, true, b"known\n").expect("a client with a trusted certificate");
    assert!(send_by_tls(closed, &certificates, false, b"unknown\n").is_err(), "a client without one");
    engine.says("TLS handshake failed");
    wait_for(PATIENCE, || sink.count() >= 2);
    let mut arrived = logs(&sink);
    arrived.sort();
    assert_eq!(arrived, ["known", "open"]);
}

#[test]
fn a_command_ends_with_the_program() {
    let (folder, sink) = (Folder::new(), Sink::start());
    let input =
        "[INPUT]\n name exec\n tag t\n command echo $$ > pid; echo begun; sleep 600 & wait\n oneshot on\n";
    let engine = Engine::start(folder.path(), &conf("", input, sink.port()));
    assert!(wait_for(PATIENCE, || sink.count() == 1), "{}", engine.messages());
    let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
    let (code, _) = engine.stop(Duration::from_secs(10));
    assert_eq!(code, Some(0));
    let proc = format!("/proc/{}", pid.trim());
    assert!(wait_for(PATIENCE, || !std::path::Path::new(&proc).exists()), "{proc} is still there");
}
