//! Signed addresses against the vendors' published examples.

use super::*;

fn signer(scheme: Scheme, key: &str, ttl_s: u64) -> Signer {
    let sign = Sign {
        scheme,
        key: Secret::new(key),
        ttl: Some(Duration::from_secs(ttl_s)),
        param: None,
    };
    Signer::new(&sign).unwrap()
}

#[test]
fn signatures_are_those_of_the_vendors_examples() {
    for (parts, hash) in [
        (
            // Aliyun, type A.
            "/video/standard/1K.html-1444435200-0-0-aliyuncdnexp1234",
            "80cd3862d699b7118eed99103f2a3a4f",
        ),
        (
            // Aliyun, type C.
            "aliyuncdnexp1234/test.flv55CE8100",
            "a37fa50a5fb8f71214b1e7c95ec7a1bd",
        ),
        (
            // Tencent, live.
            "e12c46f2612d5106e2034781ab261ca3test5C271099",
            "f85a2ab363fe4deaffef9754d79da6fe",
        ),
    ] {
        assert_eq!(md5_hex(&[parts]), hash, "{parts}");
    }
    let at = |now_s| Moment { now_s, random: 0 };

    // 2015-08-15 08:00 in Beijing.
    let b = signer(Scheme::AliyunB, "aliyuncdnexp1234", 1_800);
    let path = "/4/44/44c0909bcfc20a01afaf256ca99a8b8b.mp3";
    assert_eq!(
        b.sign(path, &at(1_439_596_800)).before,
        "/201508150800/9044548ef1527deadafa49a890a377f0"
    );
    let c = signer(Scheme::AliyunC, "aliyuncdnexp1234", 1_800);
    assert_eq!(
        c.sign("/test.flv", &at(0x55CE_8100)).before,
        "/a37fa50a5fb8f71214b1e7c95ec7a1bd/55CE8100"
    );
    let live = signer(Scheme::TencentLive, "e12c46f2612d5106e2034781ab261ca3", 60);
    assert_eq!(
        live.sign("/live/test.flv", &at(0x5C27_1099 - 60)).query,
        "txSecret=f85a2ab363fe4deaffef9754d79da6fe&txTime=5C271099"
    );
    let akamai = signer(Scheme::Akamai, "52a152a152a152a152a152a152a1", 3_600);
    assert_eq!(
        akamai.sign("/live/a.m3u8", &at(1_700_000_000)).query,
        "hdnts=st=1700000000~exp=1700003600~acl=/live/*~hmac=\
         cd6b544acb4c973cf9881e1d002ef3d66884d3ade16a3068e2f97f93ac087a34"
    );
}

#[test]
fn minutes_are_those_of_beijing() {
    for (unix_s, minute) in [
        (0, "197001010800"),
        (1_439_596_800, "201508150800"),
        (1_709_164_800 + 16 * 3_600 - 60, "202402292359"),
        (1_709_164_800 + 16 * 3_600 - 60 - 8 * 3_600, "202402291559"),
        (1_735_660_799, "202412312359"),
        (1_735_660_800, "202501010000"),
        (951_782_400, "200002290800"),
        (4_107_542_400, "210003010800"),
    ] {
        assert_eq!(beijing_minute(unix_s), minute, "{unix_s}");
    }
}

#[test]
fn what_cannot_be_signed_with_is_refused() {
    let row = |scheme, key: &str, ttl: Option<u64>, param: Option<&str>| {
        let sign = Sign {
            scheme,
            key: Secret::new(key),
            ttl: ttl.map(Duration::from_secs),
            param: param.map(str::to_owned),
        };
        match Signer::new(&sign) {
            Ok(_) => String::new(),
            Err(error) => format!("{error:#}"),
        }
    };
    for (said, expected) in [
        (row(Scheme::None, "", None, None), ""),
        (row(Scheme::None, "k", None, None), "leave key and ttl out"),
        (
            row(Scheme::None, "", Some(60), None),
            "leave key and ttl out",
        ),
        (row(Scheme::AliyunA, "", None, None), "key is missing"),
        (row(Scheme::AliyunA, "k", Some(60), None), ""),
        (row(Scheme::AliyunA, "k", Some(9), None), "10s to 7d"),
        (
            row(Scheme::TencentLive, "k", Some(604_801), None),
            "10s to 7d",
        ),
        (
            row(Scheme::AliyunB, "k", None, Some("x")),
            "belongs to scheme",
        ),
        (row(Scheme::Akamai, "52a", None, None), "even number of hex"),
        (
            row(Scheme::Akamai, "52zz", None, None),
            "even number of hex",
        ),
        (
            row(Scheme::Akamai, "52aé", None, None),
            "even number of hex",
        ),
        (row(Scheme::Akamai, "52a1", None, Some("hdnea")), ""),
        (
            row(Scheme::Akamai, "52a1", None, Some("a=b")),
            "use 1 to 32",
        ),
    ] {
        assert!(said.contains(expected), "{said:?} is not {expected:?}");
        assert_eq!(said.is_empty(), expected.is_empty(), "{said:?}");
    }
    let akamai = signer(Scheme::Akamai, "52a1", 60);
    assert!(akamai.can_sign("/{app}/{stream}.flv").is_ok());
    for path in [
        "/a~b/{app}/{stream}",
        "/a b/{app}/{stream}",
        "/*/{app}/{stream}",
    ] {
        assert!(akamai.can_sign(path).is_err(), "{path}");
    }
}

#[test]
fn a_key_is_never_shown() {
    let shown = format!("{:?}", signer(Scheme::AliyunA, "hidden-key", 60));
    assert!(!shown.contains("hidden-key"), "{shown}");
}
