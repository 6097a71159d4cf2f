//! Lists of shards in one name: `shard-{000..003}.tar`.

use super::remote::shown;
use crate::error::{Error, Result};

/// The most names that [`expand`] gives.
pub const MAX_SHARDS: usize = 100_000;

/// The names that a brace list stands for: `s-{000..003}.tar`, `{train,test}-{0..9}.tar`. As in a shell, the
/// last list runs fastest, and numbers get zeros in front where the first or the last has them.
///
/// # Errors
/// `Error::Argument` if a brace is not closed or opened or holds another, if a list is neither `FIRST..LAST`
/// with numbers in rising order nor has a comma, or for more than [`MAX_SHARDS`] names.
pub fn expand(url: &str) -> Result<Vec<String>> {
    let wrong = |expected: &str, got: &str| Error::argument(format!("`{}`", shown(url)), expected, got);
    let mut names = vec![String::new()];
    let mut rest = url;
    while let Some(at) = rest.find(['{', '}']) {
        let (plain, list) = rest.split_at(at);
        let list = list.strip_prefix('{').ok_or_else(|| wrong("`{` before `}`", "`}`"))?;
        let end = list.find(['{', '}']).filter(|&end| list.as_bytes()[end] == b'}');
        let end = end.ok_or_else(|| wrong("a `}` for each `{`", "a list that is not closed"))?;
        let items = items(&list[..end]).ok_or_else(|| {
            wrong("{FIRST..LAST} in rising order, or {A,B}", &format!("{{{}}}", &list[..end]))
        })?;
        if names.len() * items.len() > MAX_SHARDS {
            return Err(wrong(&format!("at most {MAX_SHARDS} names"), "more"));
        }
        names = names
            .iter()
            .flat_map(|name| items.iter().map(move |item| format!("{name}{plain}{item}")))
            .collect();
        rest = &list[end + 1..];
    }
    names.iter_mut().for_each(|name| name.push_str(rest));
    Ok(names)
}

/// What stands between two braces; `None` if it is no list. Ranges end after [`MAX_SHARDS`] + 1 numbers.
fn items(list: &str) -> Option<Vec<String>> {
    let Some((first, last)) = list.split_once("..") else {
        return list.contains(',').then(|| list.split(',').map(str::to_owned).collect());
    };
    let number = |text: &str| {
        let digits = text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    let (from, to) = (number(first)?, number(last)?);
    let padded = [first, last].iter().any(|text| text.len() > 1 && text.starts_with('0'));
    let width = if padded { first.len().max(last.len()) } else { 0 };
    (from <= to).then(|| (from..=to).take(MAX_SHARDS + 1).map(|n| format!("{n:0width$}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brace_lists() {
        let all = |url: &str| expand(url).unwrap();
        assert_eq!(all("s-{008..010}.tar"), ["s-008.tar", "s-009.tar", "s-010.tar"]);
        assert_eq!(all("s-{9..10}.tar"), ["s-9.tar", "s-10.tar"]);
        assert_eq!(all("{0..01}"), ["00", "01"]);
        assert_eq!(all("{a,b}/{1..2}.tar"), ["a/1.tar", "a/2.tar", "b/1.tar", "b/2.tar"]);
        assert_eq!(all("plain.tar"), ["plain.tar"]);
        assert_eq!(all("{00000..99999}").len(), MAX_SHARDS);
        let long = format!("{{0..{}1}}", "0".repeat(70_000));
        for url in [
            "{000000..100000}",
            "{0..999}{0..999}",
            "{0..18446744073709551615}",
            "{3..0}",
            "{a..c}",
            "{..3}",
            "{0..2..4}",
            "{-1..1}",
            "{0..99999999999999999999}",
            "{}",
            "{a}",
            "{a,{b,c}}",
            "{a,b",
            "a}",
            "}{",
            &long,
        ] {
            assert!(matches!(expand(url), Err(Error::Argument { .. })), "{url}");
        }
    }
}
