//! The names under which a server answers: against DNS rebinding, where a stranger's name leads a browser here.

use std::net::IpAddr;

use axum::http::{HeaderMap, StatusCode, Uri, header};

use crate::problem::{Answer, Problem, shortened};

/// The names under which a server answers. Its port may be another than its own: tunnels change it.
#[derive(Debug, Clone)]
pub struct Hosts {
    names: Vec<String>,
    /// Whether any address will do: a rebound name is no address.
    any_address: bool,
}

/// Whether only this machine reaches what listens there.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || bare(host).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Hosts {
    /// Of a server that was told to listen at `host`; `own` is the machine's name.
    pub fn of(host: &str, own: Option<String>) -> Self {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let beyond = !is_loopback(host);
        names.push(bare(host).to_ascii_lowercase());
        if beyond {
            names.extend(own.into_iter().map(|name| name.trim().to_ascii_lowercase()));
        }
        Self { names, any_address: beyond }
    }

    /// Refuses a request for another name.
    ///
    /// # Errors
    /// 421; 400 for a request that names none.
    pub fn require(&self, headers: &HeaderMap, uri: &Uri) -> Answer<()> {
        let mut named = headers.get_all(header::HOST).iter();
        let host = match (named.next(), named.next()) {
            (Some(host), None) => host.to_str().unwrap_or("?").to_owned(),
            (None, _) => uri.host().unwrap_or_default().to_owned(),
            (Some(_), Some(_)) => String::new(),
        };
        if host.is_empty() {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "host: expected one, got none or several"));
        }
        let name = name_of(&host).to_ascii_lowercase();
        let is_address = bare(&name).parse::<IpAddr>().is_ok();
        if self.names.contains(&name) || (self.any_address && is_address) {
            return Ok(());
        }
        let message = format!("host: expected {}, got `{}`", self.names.join(", "), shortened(&host));
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, message)
            .hint("--host NAME answers under another name"))
    }
}

/// Without brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Of `name:port` or `[address]:port`.
fn name_of(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(hosts: &Hosts, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        hosts.require(&headers, &Uri::from_static("/")).is_ok()
    }

    #[test]
    fn only_its_own_names_reach_a_server() {
        let here = Hosts::of("127.0.0.1", Some("box".into()));
        for host in ["localhost:7860", "127.0.0.1", "127.0.0.1:1", "[::1]:7860", "LocalHost"] {
            assert!(answers(&here, host), "{host}");
        }
        for host in ["evil.example", "evil.example:7860", "localhost.evil.example", "10.0.0.1", "box", ""] {
            assert!(!answers(&here, host), "{host}");
        }
        let beyond = Hosts::of("0.0.0.0", Some("box\n".into()));
        for host in ["10.0.0.1:7860", "[fe80::1]:7860", "box:7860", "localhost"] {
            assert!(answers(&beyond, host), "{host}");
        }
        assert!(!answers(&beyond, "evil.example"));
        assert!(answers(&Hosts::of("studio.lan", None), "studio.lan:7860"));
        let mut two = HeaderMap::new();
        two.append(header::HOST, "localhost".parse().unwrap());
        two.append(header::HOST, "evil.example".parse().unwrap());
        assert!(here.require(&two, &Uri::from_static("/")).is_err());
    }

    #[test]
    fn loopback_is_known() {
        assert!(["127.0.0.1", "localhost", "::1", "[::1]", "127.9.9.9"].iter().all(|host| is_loopback(host)));
        assert!(["0.0.0.0", "::", "192.168.1.2", "box"].iter().all(|host| !is_loopback(host)));
    }
}
