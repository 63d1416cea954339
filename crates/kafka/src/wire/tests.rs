//! The primitive encodings: limits, nulls, varints, tags, segments.

use bytes::Bytes;

use super::*;

#[test]
fn a_claimed_list_is_checked_before_anything_is_allocated() {
    let mut buf = Decoder::new(Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 0]));
    let error = buf.array(false, 1, |buf| buf.int8()).expect_err("two bytes cannot hold it");
    assert_eq!(error, DecodeError::ListTooLong { count: 0x7fff_ffff, remaining: 2 });
}
