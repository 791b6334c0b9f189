//! Messages recorded from Fluent Bit 5.1.1 where nothing else is said, and the grammar of RFC 5424.

use super::*;
use crate::fakes::syslog::check;
use crate::testing::{chunk, configure, segment};
use proptest::prelude::*;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

const KEYS: &[(&str, &str)] = &[
    ("syslog_severity_key", "sev"),
    ("syslog_facility_key", "fac"),
    ("syslog_hostname_key", "h"),
    ("syslog_appname_key", "a"),
    ("syslog_procid_key", "p"),
    ("syslog_msgid_key", "m"),
    ("syslog_sd_key", "sd@1 x"),
    ("syslog_sd_key", "sd2"),
    ("syslog_message_key", "msg"),
];

const FULL: &str = r#"{"sev":"ERR","fac":"local3","h":"host1","a":"app","p":77,"m":"id-1","msg":"hello \"é\" ]","sd@1 x":{"k=1":"v]\"\\","b":true,"f":1.5,"n":-3,"nul":null,"m":{"x":1},"averyveryverylongkeythatismorethan32chars":"x"},"sd2":{}}"#;

fn message(options: &[(&str, &str)], json: &str) -> String {
    let output = configure(&PLUGIN, options).unwrap_or_else(|wrong| panic!("{options:?}: {wrong}"));
    let segment = segment(&*output, "app", &[(1_700_000_000, 123_456_789, json)]);
    String::from_utf8_lossy(&segment.bytes).into_owned()
}

fn with<'o>(options: &[(&'o str, &'o str)]) -> Vec<(&'o str, &'o str)> {
    KEYS.iter().chain(options).copied().collect()
}

#[test]
fn messages_are_fluent_bits() {
    let full = "<155>1 2023-11-14T22:13:20.123456Z host1 app 77 id-1 [sd@1_x k_1=\"v\\]\\\"\\\\\" b=\"true\" f=\"1.500000\" n=\"-3\" averyveryverylongkeythatismoreth=\"x\"][sd2] \u{feff}hello \"é\" ]";
    for (options, json, expected) in [
        (&[][..], FULL, full),
        (&[("mode", "tcp")], FULL, &format!("{full}\n")),
        (&[("syslog_format", "rfc3164")], FULL, "<155>Nov 14 22:13:20 host1 app[77]: hello \"é\" ]"),
        (&[("syslog_maxsize", "20")], FULL, "<155>1 2023-11-14T22"),
        (&[("syslog_maxsize", "20"), ("mode", "tcp")], FULL, "<155>1 2023-11-14T22\n"),
        (&[], r#"{"msg":"<13>raw"}"#, "<13>raw"),
        (&[("syslog_hostname_preset", "p")], "{}", "<14>1 2023-11-14T22:13:20.123456Z p - - - -"),
        (&[], r#"{"msg":"","sev":9,"fac":"24"}"#, "<14>1 2023-11-14T22:13:20.123456Z - - - - - \u{feff}"),
        (
            &[("syslog_format", "rfc3164"), ("syslog_appname_preset", "app"), ("syslog_procid_preset", "5")],
            r#"{"msg":1.5,"sev":"3","fac":"15"}"#,
            "<123>Nov 14 22:13:20 app[5]: 1.500000",
        ),
        (
            &[("allow_longer_sd_id", "on")],
            r#"{"sd2":{"averyveryverylongkeythatismorethan32chars":1}}"#,
            "<14>1 2023-11-14T22:13:20.123456Z - - - - [sd2 averyveryverylongkeythatismorethan32chars=\"1\"]",
        ),
        (
            &[
                ("syslog_severity_preset", "0"),
                ("syslog_facility_preset", "23"),
                ("syslog_msgid_preset", "x"),
            ],
            "{}",
            "<184>1 2023-11-14T22:13:20.123456Z - - - x -",
        ),
        // Here Fluent Bit writes what is no header; we keep to the grammar.
        (&[], r#"{"h":"","a":"my app","p":"é"}"#, "<14>1 2023-11-14T22:13:20.123456Z - my_app __ - -"),
        (
            &[("syslog_maxsize", "48")],
            r#"{"msg":"é"}"#,
            "<14>1 2023-11-14T22:13:20.123456Z - - - - - \u{feff}",
        ),
    ] {
        assert_eq!(message(&with(options), json), expected, "{options:?} {json}");
    }
}

#[test]
fn what_cannot_be_is_told() {
    for (options, told) in [
        (&[("mode", "dtls")][..], "not supported"),
        (&[("mode", "udp"), ("tls", "on")], "cannot be encrypted"),
        (&[("syslog_severity_preset", "8")], "from 0 to 7"),
        (&[("syslog_facility_preset", "24")], "from 0 to 23"),
        (&[("syslog_format", "rfc1")], "`syslog_format`"),
    ] {
        let wrong = configure(&PLUGIN, options).err().unwrap_or_default();
        assert!(wrong.contains(told), "{options:?}: {wrong}");
    }
}

#[tokio::test]
async fn datagrams_hold_a_message_each() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let port = socket.local_addr().expect("an address").port().to_string();
    let output =
        configure(&PLUGIN, &[("Port", port.as_str()), ("syslog_message_key", "m"), ("syslog_maxsize", "1M")]);
    let output = output.expect("valid");
    let long = format!(r#"{{"m":"{}"}}"#, "x".repeat(70_000));
    let records = [(0, 0, r#"{"m":"<1>a"}"#), (0, 0, long.as_str()), (0, 0, r#"{"m":"<1>b\nc"}"#)];
    let mut chunk = chunk(vec![segment(&*output, "a", &records)]);
    assert_eq!(output.deliver(&mut chunk).await, Verdict::Delivered { dropped: 1 });
    assert_eq!(output.counters()[0].value, 1);
    assert_eq!(output.deliver(&mut chunk).await, Verdict::Delivered { dropped: 0 });
    for expected in ["<1>a", "<1>b\nc"] {
        let mut buffer = [0u8; 100];
        let count = socket.recv(&mut buffer).await.expect("a datagram");
        assert_eq!(&buffer[..count], expected.as_bytes());
    }
}

#[tokio::test]
async fn a_connection_holds_lines() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    let options = [
        ("Port", port.as_str()),
        ("mode", "tcp"),
        ("syslog_message_key", "m"),
        ("net.keepalive", "off"),
        ("net.proxy_env_ignore", "on"),
    ];
    let output = configure(&PLUGIN, &options).expect("valid");
    let records = [(0, 0, r#"{"m":"<1>a"}"#), (0, 0, r#"{"m":"<1>b"}"#)];
    let mut chunk = chunk(vec![segment(&*output, "a", &records), segment(&*output, "b", &records)]);
    chunk.done = vec![true, true, false, false];
    let (sent, accepted) = tokio::join!(output.deliver(&mut chunk), listener.accept());
    assert_eq!(sent, Verdict::Delivered { dropped: 0 });
    let mut text = String::new();
    accepted.expect("a connection").0.read_to_string(&mut text).await.expect("text");
    assert_eq!(text, "<1>a\n<1>b\n");
}

proptest! {
    #[test]
    fn every_message_fits_the_grammar(
        texts in proptest::collection::vec("\\PC{0,60}|[ -~]{0,300}", 8),
        name in "\\PC{1,40}", number in any::<f64>(), severity in 0i64..12, facility in 0i64..40,
    ) {
        let record = serde_json::json!({
            "sev": severity, "fac": facility, "h": texts[0], "a": texts[1], "p": texts[2], "m": texts[3],
            "msg": format!(" {}", texts[4]), "sd2": {(name.clone()): texts[5], "n": number}, "sd@1 x": {(name): texts[6]},
        });
        let sent = message(&with(&[("syslog_maxsize", "100k")]), &record.to_string());
        prop_assert_eq!(check(&sent), Ok(()), "{}", sent);
    }

    #[test]
    fn a_cut_message_is_short_and_whole_text(text in "\\PC{0,80}", most in 1usize..200) {
        let record = serde_json::json!({"msg": format!(" {text}")}).to_string();
        let most_text = most.to_string();
        let sent = message(&with(&[("syslog_maxsize", most_text.as_str())]), &record);
        let whole = message(&with(&[("syslog_maxsize", "100k")]), &record);
        prop_assert!(sent.len() <= most && whole.starts_with(&sent) && sent.len() + 3 >= most.min(whole.len()));
    }
}
