//! AMF0 bytes laid out by hand, both ways; and that nothing overruns or nests for ever.

use super::*;
use proptest::prelude::*;

/// The value that these bytes hold, all of them.
fn check(bytes: &[u8], expect: Result<Value, Error>) {
    let mut bytes = Bytes::copy_from_slice(bytes);
    assert_eq!(decode(&mut bytes), expect);
    assert!(expect.is_err() || bytes.is_empty(), "bytes are left");
}

fn object(members: &[(&str, Value)]) -> Vec<(String, Value)> {
    members
        .iter()
        .map(|(name, value)| (name.to_string(), value.clone()))
        .collect()
}

#[test]
fn amf0_values_laid_out_by_hand() {
    check(b"\x00\x3F\xF0\0\0\0\0\0\0", Ok(1.0.into()));
    check(b"\x01\x01", Ok(true.into()));
    check(b"\x02\0\x03abc", Ok("abc".into()));
    check(b"\x02\0\x01\xFF", Ok("\u{FFFD}".into()));
    check(b"\x05", Ok(Value::Null));
    check(b"\x06", Ok(Value::Undefined));
    check(b"\x0C\0\0\0\x02hi", Ok("hi".into()));
    check(b"\x0B\0\0\0\0\0\0\0\0\0\0", Ok(Value::Date(0.0)));
    check(
        b"\x0A\0\0\0\x02\x05\x05",
        Ok(Value::StrictArray(vec![Value::Null; 2])),
    );
    let members = object(&[("a", Value::Null), ("b", true.into())]);
    check(
        b"\x03\0\x01a\x05\0\x01b\x01\x01\0\0\x09",
        Ok(Value::Object(members.clone())),
    );
    check(
        b"\x10\0\x01C\0\x01a\x05\0\x01b\x01\x01\0\0\x09",
        Ok(Value::Object(members.clone())),
    );
    // The count of an ECMA array is wrong as often as not, and so is its end.
    check(
        b"\x08\0\0\0\x63\0\x01a\x05\0\x01b\x01\x01\0\0\x09",
        Ok(Value::EcmaArray(members.clone())),
    );
    check(
        b"\x08\0\0\0\0\0\x01a\x05\0\x01b\x01\x01",
        Ok(Value::EcmaArray(members)),
    );
}

#[test]
fn amf3_values_laid_out_by_hand() {
    check(b"\x11\x01", Ok(Value::Null));
    check(b"\x11\x02", Ok(false.into()));
    check(b"\x11\x04\x05", Ok(5.0.into()));
    check(b"\x11\x04\x81\x00", Ok(128.0.into()));
    check(b"\x11\x04\xFF\xFF\xFF\xFF", Ok((-1.0).into()));
    check(b"\x11\x05\x3F\xF0\0\0\0\0\0\0", Ok(1.0.into()));
    check(b"\x11\x06\x07abc", Ok("abc".into()));
    // A dynamic object without a class; the second name is a reference to the first string.
    let members = object(&[("ab", "cd".into()), ("cd", Value::Null)]);
    check(
        b"\x11\x0A\x0B\x01\x05ab\x06\x05cd\x02\x01\x01",
        Ok(Value::Object(members)),
    );
    // Two objects in an array, the second by the traits of the first.
    let each = |number: f64| Value::Object(object(&[("x", number.into())]));
    check(
        b"\x11\x09\x05\x01\x0A\x13\x01\x03x\x04\x01\x0A\x01\x04\x02",
        Ok(Value::StrictArray(vec![each(1.0), each(2.0)])),
    );
    check(
        b"\x11\x09\x01\x03k\x03\x01",
        Ok(Value::EcmaArray(object(&[("k", true.into())]))),
    );
    check(b"\x11\x0A\x00", Err(Error::Unsupported(0x0A))); // a reference to an object
    check(b"\x11\x0A\x07", Err(Error::Unsupported(0x0A))); // externalizable
    check(b"\x11\x06\x02", Err(Error::Unsupported(0x06))); // a string that never was
    check(b"\x11\x0C\x01", Err(Error::Unsupported(0x0C))); // a byte array
}

#[test]
fn bad_values_are_errors() {
    for bytes in [
        &b""[..],
        b"\x00\x3F",
        b"\x01",
        b"\x02\0\x05abc",
        b"\x0A\0\0\0\x02\x05",
        b"\x03\0",
    ] {
        check(bytes, Err(Error::Truncated));
    }
    check(b"\x04", Err(Error::Unsupported(4)));
    check(b"\x07\0\0", Err(Error::Unsupported(7)));
    check(b"\xFF", Err(Error::Unsupported(0xFF)));
    check(b"\x0A\xFF\xFF\xFF\xFF", Err(Error::Truncated));
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth| {
        (0..depth).fold(Value::Null, |inner, _| {
            Value::Object(vec![("a".into(), inner)])
        })
    };
    let decoded = |value: Value| decode(&mut encode_all(&[value]));
    assert_eq!(decoded(nested(MAX_DEPTH)), Ok(nested(MAX_DEPTH)));
    assert_eq!(decoded(nested(MAX_DEPTH + 1)), Err(Error::TooDeep));
    let amf0 = b"\x03\0\x01a".repeat(100_000);
    assert_eq!(decode(&mut amf0.into()), Err(Error::TooDeep));
    let amf3 = [&b"\x11"[..], &b"\x09\x03\x01".repeat(100_000)].concat();
    assert_eq!(decode(&mut amf3.into()), Err(Error::TooDeep));
}

#[test]
fn values_and_repeated_text_are_bounded() {
    let nulls = |count| Bytes::from(vec![NULL; count]);
    assert_eq!(
        decode_all(nulls(MAX_VALUES)).map(|values| values.len()),
        Ok(MAX_VALUES)
    );
    assert_eq!(decode_all(nulls(MAX_VALUES + 1)), Err(Error::TooMany));
    // 60 kB of text once, then a thousand references to it in two bytes each.
    let text = [&b"\x06\x87\xA9\x41"[..], &[b'x'; 60_000]].concat();
    let bomb = [
        &b"\x11\x09\x8F\x51\x01"[..],
        &text,
        &b"\x06\x00".repeat(1000),
    ]
    .concat();
    assert_eq!(decode(&mut bomb.into()), Err(Error::TooMany));
}

#[test]
fn long_strings_are_written_as_such() {
    let text = "x".repeat(70_000);
    let encoded = encode_all(&[text.as_str().into()]);
    assert_eq!(encoded[0], LONG_STRING);
    assert_eq!(decode(&mut encoded.clone()), Ok(text.as_str().into()));
}

#[test]
fn members_are_found_by_name() {
    let value = Value::EcmaArray(object(&[
        ("n", 2.5.into()),
        ("s", "t".into()),
        ("b", true.into()),
    ]));
    assert_eq!(value.get("n").and_then(Value::as_f64), Some(2.5));
    assert_eq!(value.get("s").and_then(Value::as_str), Some("t"));
    assert_eq!(value.get("b").and_then(Value::as_bool), Some(true));
    assert_eq!(value.get("s").and_then(Value::as_f64), None);
    assert_eq!(value.get("x"), None);
    assert_eq!(Value::Null.get("n"), None);
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        (-1e300..1e300).prop_map(Value::Number),
        any::<bool>().prop_map(Value::Boolean),
        ".{0,20}".prop_map(Value::String),
        Just(Value::Null),
        Just(Value::Undefined),
        (-1e15..1e15).prop_map(Value::Date),
    ];
    leaf.prop_recursive(6, 60, 5, |inner| {
        let members = prop::collection::vec((".{1,8}", inner.clone()), 0..5);
        prop_oneof![
            members.clone().prop_map(Value::Object),
            members.prop_map(Value::EcmaArray),
            prop::collection::vec(inner, 0..5).prop_map(Value::StrictArray),
        ]
    })
}

proptest! {
    #[test]
    fn values_decode_as_they_were_encoded(values in prop::collection::vec(values(), 0..4)) {
        prop_assert_eq!(decode_all(encode_all(&values)), Ok(values));
    }

    #[test]
    fn any_bytes_decode_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        let _ = decode_all(bytes.into());
    }

    #[test]
    fn likely_bytes_decode_without_panic(bytes in prop::collection::vec(0u8..20, 0..500)) {
        let _ = decode_all(bytes.clone().into());
        let amf3 = [&[AVMPLUS][..], &bytes].concat();
        let _ = decode_all(amf3.into());
    }
}
