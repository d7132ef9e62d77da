//! Any bytes as AMF: never a panic, and what was read can be written and read again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use media::amf;

fuzz_target!(|data: &[u8]| {
    let Ok(values) = amf::decode_all(Bytes::copy_from_slice(data)) else {
        return;
    };
    let again = amf::decode_all(amf::encode_all(&values)).expect("what was written can be read");
    assert_eq!(values.len(), again.len());
});
