//! Rows that are refused, and addresses that a checker written from the vendors' pages accepts.

use proptest::prelude::*;
use transport::config::Secret;

use super::*;

/// Checks addresses as the vendors' servers would: from the address alone, by their documents.
mod checker {
    use aws_lc_rs::hmac;
    use md5::{Digest as _, Md5};

    fn md5(text: String) -> String {
        let digest: [u8; 16] = Md5::digest(text.as_bytes()).into();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn after_host(url: &str) -> (&str, &str) {
        let rest = url.split_once("://").unwrap().1;
        let rest = &rest[rest.find('/').unwrap()..];
        rest.split_once('?').unwrap_or((rest, ""))
    }

    fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|pair| pair.0 == name)
            .map(|pair| pair.1)
            .next()
    }

    /// Decodes `%XX` once.
    fn decoded(path: &str) -> String {
        let mut parts = path.split('%');
        let mut text = parts.next().unwrap().as_bytes().to_vec();
        for part in parts {
            text.push(u8::from_str_radix(&part[..2], 16).unwrap());
            text.extend(&part.as_bytes()[2..]);
        }
        String::from_utf8(text).unwrap()
    }

    /// Minutes since 1970 of `YYYYMMDDHHMM` in UTC+8, by counting the days of each year and month.
    fn minutes(text: &str) -> Option<u64> {
        let part = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
        let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
        let leap = |year: u64| {
            let (by, not) = (year.is_multiple_of(4), year.is_multiple_of(100));
            by && (!not || year.is_multiple_of(400))
        };
        let mut days: u64 = (1970..year).map(|y| if leap(y) { 366 } else { 365 }).sum();
        let february = if leap(year) { 29 } else { 28 };
        let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        days += months[..month as usize - 1].iter().sum::<u64>() + day - 1;
        (days * 1_440 + part(8, 10)? * 60 + part(10, 12)?).checked_sub(480)
    }

    /// Whether the vendor lets the viewer in; `validity_s` is what its domain is set to.
    pub(super) fn accepts(
        scheme: &str,
        key: &str,
        url: &str,
        now_s: u64,
        validity_s: u64,
    ) -> Option<bool> {
        let (path, query) = after_host(url);
        let fresh = |made_s: u64| made_s <= now_s && now_s < made_s + validity_s;
        let dashed = |name: &str| {
            let auth = value(query, name)?;
            let (stamp, hash) = auth.rsplit_once('-')?;
            let made_s = stamp.split('-').next()?.parse().ok()?;
            let three = stamp.split('-').count() == 3;
            let right = md5(format!("{}-{stamp}-{key}", decoded(path))) == hash;
            Some(three && right && fresh(made_s))
        };
        match scheme {
            "aliyun-a" => dashed("auth_key"),
            "tencent-cdn-a" => dashed("sign"),
            "aliyun-b" => {
                let (time, rest) = path[1..].split_once('/')?;
                let (hash, rest) = rest.split_once('/')?;
                let right = md5(format!("{key}{time}/{}", decoded(rest))) == hash;
                Some(right && fresh(minutes(time)? * 60))
            }
            "aliyun-c" => {
                let (hash, rest) = path[1..].split_once('/')?;
                let (time, rest) = rest.split_once('/')?;
                let right = md5(format!("{key}/{}{time}", decoded(rest))) == hash;
                Some(right && fresh(u64::from_str_radix(time, 16).ok()?))
            }
            "tencent-live" => {
                let (secret, time) = (value(query, "txSecret")?, value(query, "txTime")?);
                let path = decoded(path);
                let file = path.rsplit('/').next()?;
                let name = &file[..file.rfind('.').unwrap_or(file.len())];
                let right = md5(format!("{key}{name}{time}")) == secret;
                Some(right && u64::from_str_radix(time, 16).ok()? > now_s)
            }
            "akamai" => {
                let token = query.strip_prefix("hdnts=")?;
                let (text, tag) = token.split_once("~hmac=")?;
                let field = |name: &str| {
                    let mut fields = text.split('~').filter_map(|field| field.split_once('='));
                    fields.find(|field| field.0 == name).map(|field| field.1)
                };
                let bytes = key.as_bytes().chunks(2);
                let bytes = bytes.map(|two| std::str::from_utf8(two).unwrap());
                let bytes = bytes.map(|two| u8::from_str_radix(two, 16).unwrap());
                let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes.collect::<Vec<_>>());
                let tag: Option<Vec<u8>> = (0..tag.len() / 2)
                    .map(|at| u8::from_str_radix(tag.get(2 * at..2 * at + 2)?, 16).ok())
                    .collect();
                let right = hmac::verify(&key, text.as_bytes(), &tag?).is_ok();
                let from: u64 = field("st")?.parse().ok()?;
                let to: u64 = field("exp")?.parse().ok()?;
                let acl = field("acl")?;
                let covered = match acl.strip_suffix('*') {
                    Some(prefix) => path.starts_with(prefix),
                    None => path == acl,
                };
                Some(right && covered && from <= now_s && now_s < to)
            }
            _ => Some(query.is_empty()),
        }
    }
}

const SCHEMES: [(&str, &str); 6] = [
    ("aliyun-a", "aliyuncdnexp1234"),
    ("aliyun-b", "aliyuncdnexp1234"),
    ("aliyun-c", "aliyuncdnexp1234"),
    ("tencent-live", "e12c46f2612d5106e2034781ab261ca3"),
    ("tencent-cdn-a", "dimtm5evg50ijsx2hvuwyfoiu65"),
    ("akamai", "52a152a152a152a152a152a152a1"),
];

const NOW_S: u64 = 1_800_000_000;

fn row(text: &str) -> Row {
    toml::from_str(text).unwrap()
}

fn signed(scheme: &str, key: &str) -> Pathway {
    let row = row(&format!(
        "id = \"cloud\"\nurl = \"https://cdn.example.com:8443/x%20y/{{app}}/{{stream}}.flv\"\n\
         everywhere = true\negress_mbps = 20000\n\
         sign = {{ scheme = \"{scheme}\", key = \"{key}\", ttl = \"5m\" }}\n"
    ));
    let url = row
        .url
        .replace("/x%20y", if scheme == "akamai" { "/xy" } else { "/x%20y" });
    let hls = Some("https://cdn.example.com/{app}/{stream}.m3u8".to_owned());
    Pathway::new(Row { url, hls, ..row }).unwrap()
}

fn key(text: &str) -> StreamKey {
    StreamKey::parse(text).unwrap()
}

#[test]
fn addresses_are_accepted_while_they_are_good_and_only_as_they_are() {
    for (scheme, secret) in SCHEMES {
        let pathway = signed(scheme, secret);
        for kind in [Kind::Flv, Kind::Hls] {
            let url = pathway.url(&key("live/show.v2"), kind, NOW_S, 7);
            let check = |url: &str, now_s| {
                checker::accepts(scheme, secret, url, now_s, 300).unwrap_or(false)
            };
            assert!(check(&url, NOW_S) && check(&url, NOW_S + 200), "{url}");
            assert!(!check(&url, NOW_S + 301), "{scheme} for ever: {url}");
            let other = url.replace("show", "shox");
            let folder = scheme == "akamai" && kind == Kind::Hls;
            assert!(folder || !check(&other, NOW_S), "{scheme}: {other}");
            let wrong = checker::accepts(scheme, "00112233", &url, NOW_S, 300);
            assert_eq!(wrong, Some(false), "{scheme} with another key");
        }
        assert_eq!(pathway.ttl_s(), Some(300));
    }
}

#[test]
fn what_is_not_signed_is_the_pattern_filled() {
    let pathway = Pathway::new(row(
        "id = \"b\"\nurl = \"http://[2001:db8::1]:80/{stream}/{app}/a%20b\"\negress_mbps = 0\n\
         place = { lat = 1.0, lon = 2.0 }",
    ))
    .unwrap();
    let url = pathway.url(&key("live/x"), Kind::Flv, NOW_S, 0);
    assert_eq!(url, "http://[2001:db8::1]:80/x/live/a%20b");
    assert_eq!((pathway.ttl_s(), pathway.offers(Kind::Hls)), (None, false));
    let node = pathway.node();
    assert_eq!(
        (node.role, node.public_url.as_str()),
        (Role::Edge, "http://[2001:db8::1]:80")
    );
    assert_eq!((node.place.lat, node.capacity), (1.0, Capacity::default()));
}

/// Changes a good row, and looks for what is said of it; nothing is when it is still good.
fn check(from: &str, to: &str, expected: &str) {
    let text = "id = \"cloud\"\nurl = \"https://cdn.example.com/{app}/{stream}.flv\"\n\
                everywhere = true\negress_mbps = 1\nstay = \"20m\"\n";
    assert!(text.contains(from), "{from}");
    let row = toml::from_str::<Row>(&text.replace(from, to));
    let said = match row
        .map_err(anyhow::Error::from)
        .and_then(|row| pathways(&[row]))
    {
        Ok(_) => String::new(),
        Err(error) => format!("{error:#}"),
    };
    assert!(
        said.contains(expected),
        "{to:?}: {said:?} is not {expected:?}"
    );
    assert_eq!(said.is_empty(), expected.is_empty(), "{to:?}: {said:?}");
}

#[test]
fn patterns_that_make_no_sense_say_what_to_write() {
    check("cloud", "cloud-2", "");
    check("\"cloud\"", "\"a/b\"", "not a valid name");
    check("https://", "rtmp://", "must begin with https:// or http://");
    check("/{app}/{stream}.flv", "", "has no path");
    check("cdn.example.com", "", "not a host");
    check("cdn.example.com", "u@cdn.example.com", "not a host");
    check("cdn.example.com", "{app}.example.com", "not a host");
    check(
        "{app}",
        "live",
        "must have {app} in its path once, not 0 times",
    );
    check("{stream}", "{stream}/{stream}", "once, not 2 times");
    check(".flv", ".flv?x=1", "the query is the signature's");
    check(".flv", ".flv#x", "write it as %23");
    check(
        "{app}",
        "{app}/{tenant}",
        "only {app} and {stream} have braces",
    );
    check("{app}", "a%2fb/{app}", "%2f in a path is refused");
    check("{app}", "a%2Fb/{app}", "%2f in a path is refused");
    check("{app}", "%252f/{app}", "decoded twice");
    check("{app}", "../{app}", ". and .. in a path are refused");
    check("{app}", "%2e%2E/{app}", ". and .. in a path are refused");
    check("{app}", "/{app}", "// in a path is refused");
    check("{app}", "%zz/{app}", "two hexadecimal digits");
    check("{app}", "%+1/{app}", "two hexadecimal digits");
    check(".flv", "%2", "two hexadecimal digits");
    check(".flv", "%0a", "control characters");
    check(".flv", "%ff", "UTF-8");
    check(".flv", "/", "ends with a name");
}

#[test]
fn rows_that_make_no_sense_say_what_to_write() {
    check("everywhere = true", "", "say where it stands");
    check(
        "true",
        "true\nplace = { lat = 1.0, lon = 2.0 }",
        "leave one out",
    );
    check("true", "false\nplace = { lat = 1.0, lon = 2.0 }", "");
    check(
        "true",
        "false\nplace = { lat = 91.0, lon = 2.0 }",
        "lat must be",
    );
    check("20m", "9s", "stay must be 10s to 24h, not 9s");
    check("egress_mbps", "egress", "unknown field `egress`");
    check(
        "stay",
        "sign = { scheme = \"aliyun\" }\nstay",
        "unknown variant `aliyun`",
    );
    check(
        "stay",
        "sign = { scheme = \"akamai\", key = \"xyz\" }\nstay",
        "even number",
    );
    check("stay", "hls = \"x\"\nstay", "hls: \"x\" must begin");
    let twice =
        row("id = \"a\"\nurl = \"http://a/{app}/{stream}\"\neverywhere = true\negress_mbps = 1");
    let said = pathways(&[twice.clone(), twice]).unwrap_err().to_string();
    assert_eq!(said, "[[pathway]] a stands there twice");
}

proptest! {
    #[test]
    fn any_pattern_is_refused_or_makes_addresses_that_check(
        text in "https://[a-z.]{0,5}/([a-z/.%2fe~ {}-]|\\{app\\}|\\{stream\\}){0,12}",
        app in "[a-z0-9][a-z0-9._-]{0,8}",
    ) {
        let Ok(stream) = StreamKey::parse(&format!("{app}/s")) else { return Ok(()); };
        let base = signed("aliyun-a", "k").row;
        let sign = Sign { key: Secret::new("k"), ..base.sign.clone() };
        if let Ok(pathway) = Pathway::new(Row { url: text, sign, hls: None, ..base }) {
            let url = pathway.url(&stream, Kind::Flv, NOW_S, 3);
            let accepted = checker::accepts("aliyun-a", "k", &url, NOW_S, 300);
            prop_assert_eq!(accepted, Some(true), "{}", url);
            let path = url.split_once("://").unwrap().1;
            prop_assert!(!path.contains("//") && !path.contains("/../"), "{}", url);
        }
    }
}
