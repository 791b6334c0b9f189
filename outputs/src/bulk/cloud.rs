//! Elastic Cloud: where a deployment is, and who may write to it.
//!
//! Owns: reading `cloud_id` and `cloud_auth`. Never: connects. Source: the format of Elastic's own clients.

use codecs::conf::values::Text;

/// Port of a deployment whose id names none.
const PORT: i64 = 443;

/// Host and port of `name:base64(region$host[:port]$…)`; the error is the rule that it breaks.
pub(super) fn place(id: &Text) -> Result<(String, i64), &'static str> {
    const RULE: &str = "name:code as Elastic Cloud shows it, the code being base64 of region$host$…";
    let (_, code) = id.0.split_once(':').ok_or(RULE)?;
    let decoded = aws_smithy_types::base64::decode(code.trim()).map_err(|_| RULE)?;
    let text = String::from_utf8(decoded).map_err(|_| RULE)?;
    let mut parts = text.split('$').filter(|part| !part.is_empty());
    let (Some(region), Some(host)) = (parts.next(), parts.next()) else { return Err(RULE) };
    match host.split_once(':') {
        None => Ok((format!("{host}.{region}"), PORT)),
        Some((host, port)) => Ok((format!("{host}.{region}"), port.parse().map_err(|_| RULE)?)),
    }
}

/// `user:password`; the password may hold further colons.
pub(super) fn credentials(auth: &Text) -> Option<(&str, &str)> {
    auth.0.split_once(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(info: &str) -> Text {
        Text(format!("prod:{}", aws_smithy_types::base64::encode(info)))
    }

    #[test]
    fn deployments_are_found() {
        for (info, host, port) in [
            ("eu-1.aws.example$abc$def", "abc.eu-1.aws.example", 443),
            ("eu-1.aws.example$abc", "abc.eu-1.aws.example", 443),
            ("eu-1.aws.example$abc:9243$def", "abc.eu-1.aws.example", 9243),
        ] {
            assert_eq!(place(&id(info)), Ok((host.to_owned(), port)), "{info}");
        }
        for wrong in
            [Text("prod".into()), Text("prod:***".into()), id("region"), id("region$host:x"), id("$")]
        {
            assert!(place(&wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(credentials(&Text("elastic:a:b".into())), Some(("elastic", "a:b")));
    }
}
