use std::net::IpAddr;

use hyper::Request;
use hyper::header::HOST;

/// The host names that a server on a loopback address answers to.
#[derive(Debug)]
pub struct Hosts {
    allowed: Vec<String>,
}

impl Hosts {
    /// `None` where any host name goes: the server is not bound to loopback alone.
    pub fn on(bound: IpAddr, extra: &[String]) -> Option<Self> {
        if !bound.is_loopback() {
            return None;
        }
        let own = match bound {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let mut allowed = vec!["localhost".into(), "127.0.0.1".into(), "[::1]".into(), own];
        allowed.extend(extra.iter().map(|host| host.to_ascii_lowercase()));
        Some(Self { allowed })
    }

    /// Whether the request names a host that is served here; the name otherwise.
    pub fn check<B>(&self, request: &Request<B>) -> Result<(), String> {
        let mut named = request.headers().get_all(HOST).iter();
        let header = match (named.next(), named.next()) {
            (Some(one), None) => one.to_str().map_err(|_| String::from("(not text)"))?,
            (None, _) => return Err("(none)".into()),
            (Some(_), Some(_)) => return Err("(more than one)".into()),
        };
        // A target in absolute form overrules the header, so both must be ours.
        for host in [Some(header), request.uri().authority().map(|a| a.as_str())] {
            if let Some(host) = host
                && !self.allows(host)
            {
                return Err(host.to_owned());
            }
        }
        Ok(())
    }

    fn allows(&self, host: &str) -> bool {
        let name = match (host.starts_with('['), host.rfind(']'), host.rfind(':')) {
            (true, Some(end), _) if port_follows(&host[end + 1..]) => &host[..=end],
            (false, _, Some(colon)) if port_follows(&host[colon..]) => &host[..colon],
            (false, _, None) => host,
            _ => return false,
        };
        self.allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
    }
}

fn port_follows(rest: &str) -> bool {
    match rest.strip_prefix(':') {
        Some(port) => !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()),
        None => rest.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_pass() {
        let hosts = Hosts::on([127, 0, 0, 1].into(), &["box.example".into()]).expect("loopback");
        for good in
            ["localhost", "LOCALHOST:80", "127.0.0.1:9", "[::1]", "[::1]:5", "box.example:1"]
        {
            assert!(hosts.allows(good), "{good} was refused");
        }
        for bad in [
            "",
            "evil.example",
            "localhost.evil.example",
            "localhost:80@evil.example",
            "localhost:",
            "localhost:x",
            "[::1]x",
            "[::1",
            "127.0.0.2",
            "::1",
        ] {
            assert!(!hosts.allows(bad), "{bad} was let in");
        }
        assert!(Hosts::on([0, 0, 0, 0].into(), &[]).is_none());
    }
}
