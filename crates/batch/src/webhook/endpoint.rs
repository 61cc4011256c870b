use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest URL of an endpoint: what every server takes.
const URL_MAX: usize = 2048;

/// Why a URL is no webhook's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is not one.
    #[error("it is not an absolute http:// or https:// URL")]
    Shape,
    /// It is longer than servers take.
    #[error("it is longer than {URL_MAX} bytes")]
    Long,
    /// It carries a user or a password, which would be stored and shown.
    #[error("it carries credentials; the signature is what proves who sends")]
    Credentials,
    /// It leads to where machines find their own credentials.
    #[error("its address is link-local or of a metadata service, which no webhook may reach")]
    Forbidden,
}

/// Checks a URL before it becomes a webhook's.
///
/// # Errors
/// If nothing may be sent there.
pub fn check_url(url: &str) -> Result<(), UrlError> {
    if url.len() > URL_MAX {
        return Err(UrlError::Long);
    }
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let rest = rest.ok_or(UrlError::Shape)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(UrlError::Credentials);
    }
    let plain = url.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') && !url.contains('#');
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    if host.is_empty() || !plain {
        return Err(UrlError::Shape);
    }
    match host.parse() {
        Ok(address) if is_forbidden(address) => Err(UrlError::Forbidden),
        _ => Ok(()),
    }
}

/// Whether an address is one that no webhook may reach: link-local, where clouds keep
/// their metadata and credentials, and what is no single machine's address. Operators name
/// webhooks, so loopback and private ranges are theirs to use.
pub fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_forbidden_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => is_forbidden_v4(address),
            None => is_forbidden_v6(address),
        },
    }
}

fn is_forbidden_v4(address: Ipv4Addr) -> bool {
    /// Metadata services outside the link-local range.
    const METADATA: [Ipv4Addr; 2] =
        [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];
    address.is_link_local()
        || address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        || METADATA.contains(&address)
}

fn is_forbidden_v6(address: Ipv6Addr) -> bool {
    /// Metadata service in the private range.
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    address.is_unicast_link_local()
        || address.is_unspecified()
        || address.is_multicast()
        || address == METADATA
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_that_may_be_reached_are_taken() {
        for good in [
            "https://example.com/hook?x=1",
            "http://127.0.0.1:9000/",
            "http://[::1]:9000/hook",
            "http://10.0.0.5/hook",
            "http://localhost",
        ] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        let long = format!("http://a/{}", "x".repeat(URL_MAX));
        for (bad, why) in [
            ("", UrlError::Shape),
            ("ftp://example.com", UrlError::Shape),
            ("//example.com", UrlError::Shape),
            ("http://", UrlError::Shape),
            ("http://:80/", UrlError::Shape),
            ("http://exa mple.com/", UrlError::Shape),
            ("http://example.com\\@evil/", UrlError::Credentials),
            ("http://example.com/\u{e9}", UrlError::Shape),
            ("http://user:secret@example.com/", UrlError::Credentials),
            ("http://169.254.169.254/latest/meta-data", UrlError::Forbidden),
            ("http://[fe80::1]/", UrlError::Forbidden),
            ("http://[fd00:ec2::254]/", UrlError::Forbidden),
            ("http://[::ffff:169.254.169.254]/", UrlError::Forbidden),
            ("http://0.0.0.0:80/", UrlError::Forbidden),
            (&long, UrlError::Long),
        ] {
            assert_eq!(check_url(bad), Err(why), "{bad}");
        }
    }
}
