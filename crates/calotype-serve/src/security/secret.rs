//! The token: who may ask, and the cookie that a page gets for it.

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The cookie's name.
const COOKIE: &str = "calotype_session";

/// What every request must know, and what stands for it in a browser: a random text of this process, which says nothing
/// of the token and is worth nothing after it.
pub struct Secret {
    token: String,
    session: String,
}

impl Secret {
    /// Of a token.
    ///
    /// # Errors
    /// Where the system has no random numbers.
    pub fn new(token: &str) -> Result<Self, getrandom::Error> {
        Ok(Self { token: token.to_owned(), session: random_hex::<32>()? })
    }

    /// Whether a request brings the token, as bearer or as the password of basic authentication, or the cookie.
    pub fn is_known(&self, headers: &HeaderMap) -> bool {
        let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = authorization.and_then(|value| value.split_once(' '));
        let by_header = match given {
            Some((kind, token)) if kind.eq_ignore_ascii_case("bearer") => self.is_token(token.trim()),
            Some((kind, pair)) if kind.eq_ignore_ascii_case("basic") => {
                password(pair.trim()).is_some_and(|password| self.is_token(&password))
            }
            _ => false,
        };
        by_header || self.has_cookie(headers)
    }

    /// Whether this is the token; takes the same time for every text of one length.
    pub fn is_token(&self, given: &str) -> bool {
        same(given.as_bytes(), self.token.as_bytes())
    }

    /// What sets the cookie.
    pub fn cookie(&self) -> String {
        format!("{COOKIE}={}; HttpOnly; SameSite=Strict; Path=/", self.session)
    }

    fn has_cookie(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.any(|(name, value)| name == COOKIE && same(value.as_bytes(), self.session.as_bytes()))
    }
}

fn password(pair: &str) -> Option<String> {
    let decoded = String::from_utf8(STANDARD.decode(pair).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

/// Every byte is looked at, wherever the first difference is.
fn same(given: &[u8], expected: &[u8]) -> bool {
    let differs = given.iter().zip(expected.iter().cycle()).fold(0, |differs, (a, b)| differs | (a ^ b));
    std::hint::black_box(differs) == 0 && given.len() == expected.len()
}

/// `N` random bytes as hexadecimal digits.
///
/// # Errors
/// Where the system has none.
pub fn random_hex<const N: usize>() -> Result<String, getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn the_token_opens_and_nothing_else_does() {
        let secret = Secret::new("s3cret").unwrap();
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        let cookie = secret.cookie().split(';').next().unwrap().to_owned();
        for known in ["Bearer s3cret", "bearer s3cret", &basic("anybody:s3cret")] {
            assert!(secret.is_known(&headers(header::AUTHORIZATION, known)), "{known}");
        }
        assert!(secret.is_known(&headers(header::COOKIE, &format!("a=b; {cookie}"))));
        for unknown in
            ["Bearer s3creT", "Bearer s3cre", "Bearer s3crets3cret", "Bearer ", "s3cret", &basic("s3cret")]
        {
            assert!(!secret.is_known(&headers(header::AUTHORIZATION, unknown)), "{unknown}");
        }
        for unknown in ["calotype_session=", "calotype_session=s3cret", "other=1"] {
            assert!(!secret.is_known(&headers(header::COOKIE, unknown)), "{unknown}");
        }
        assert!(!cookie.contains("s3cret") && secret.cookie().contains("HttpOnly; SameSite=Strict"));
        assert_ne!(cookie, Secret::new("s3cret").unwrap().cookie().split(';').next().unwrap());
    }
}
