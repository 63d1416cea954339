//! The primitive encodings: limits, nulls, varints, tags, segments.

use bytes::Bytes;

use super::*;

fn decoder(bytes: &[u8]) -> Decoder {
    Decoder::new(Bytes::copy_from_slice(bytes))
}

fn list_of_i64(bytes: &[u8], flexible: bool) -> Result<Vec<i64>, DecodeError> {
    decoder(bytes).array(flexible, 8, |buf| buf.int64())
}

#[test]
fn a_claimed_list_is_checked_before_anything_is_allocated() {
    let error = list_of_i64(&[0x7f, 0xff, 0xff, 0xff, 0, 0], false);
    assert_eq!(error, Err(DecodeError::ListTooLong { count: 0x7fff_ffff, remaining: 2 }));
    let error = list_of_i64(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0], true);
    assert_eq!(error, Err(DecodeError::ListTooLong { count: 0xffff_fffe, remaining: 2 }));
    let error = list_of_i64(&[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1], false);
    assert_eq!(error, Err(DecodeError::ListTooLong { count: 2, remaining: 9 }), "eight bytes each");
}

#[test]
fn lists_share_one_memory_limit() {
    // Many lists of structs that are one byte on the wire and 1 KiB in memory.
    let mut buf = Decoder::new(vec![100; 1 << 20].into());
    let mut error = None;
    for _ in 0..1000 {
        let list = buf.array(true, 1, |buf| Ok([buf.int8()?; 1024]));
        if let Err(e) = list {
            error = Some(e);
            break;
        }
    }
    assert_eq!(error, Some(DecodeError::TooManyElements));
}

#[test]
fn a_long_list_takes_the_memory_it_was_charged_for() {
    let mut bytes = 5000u32.to_be_bytes().to_vec();
    bytes.resize(4 + 5000 * 8, 1);
    let list = list_of_i64(&bytes, false).expect("all there");
    assert_eq!((list.len(), list.capacity()), (5000, 5000));
}

#[test]
fn null_and_negative_lengths() {
    assert_eq!(decoder(&[0xff, 0xff]).string(false), Err(DecodeError::UnexpectedNull));
    assert_eq!(decoder(&[0xff, 0xff]).nullable_string(false), Ok(None));
    assert_eq!(decoder(&[0xff, 0xfe]).nullable_string(false), Err(DecodeError::NegativeLength(-2)));
    assert_eq!(decoder(&[0]).bytes(true), Err(DecodeError::UnexpectedNull));
    assert_eq!(
        decoder(&[0x80, 0, 0, 0]).nullable_bytes(false),
        Err(DecodeError::NegativeLength(i32::MIN.into()))
    );
    assert_eq!(list_of_i64(&[0xff, 0xff, 0xff, 0xff], false), Err(DecodeError::UnexpectedNull));
    let read = |byte: u8| decoder(&[byte, 7]).nullable_struct(|buf| buf.int8());
    assert_eq!((read(0xff), read(1), read(2)), (Ok(None), Ok(Some(7)), Err(DecodeError::Presence(2))));
}

#[test]
fn texts_are_utf8_and_short() {
    assert_eq!(decoder(&[0, 2, 0xc3, 0x28]).string(false), Err(DecodeError::NotUtf8));
    assert_eq!(decoder(&[0, 5, b'a']).string(false), Err(DecodeError::Truncated { needed: 5, remaining: 1 }));
    assert_eq!(decoder(&[0x81, 0x80, 0x02]).string(true), Err(DecodeError::TextTooLong(0x8000)));
}

#[test]
fn varints_are_bounded() {
    let read = |bytes: &[u8]| decoder(bytes).unsigned_varint();
    assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok(u32::MAX));
    assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x10]), Err(DecodeError::VarintTooLong));
    assert_eq!(read(&[0x80; 9]), Err(DecodeError::VarintTooLong));
    assert_eq!(read(&[0x80]), Err(DecodeError::Truncated { needed: 1, remaining: 0 }));
    for value in [0, 1, 127, 128, 16_383, 16_384, u32::MAX] {
        let mut out = Encoder::new();
        out.unsigned_varint(value);
        assert_eq!(read(&out.finish().into_contiguous()), Ok(value));
    }
}

#[test]
fn tagged_fields_are_skipped_known_or_refused() {
    let read = |bytes: &[u8]| {
        let mut buf = decoder(bytes);
        let mut seen = None;
        buf.tagged_fields(|buf, tag| {
            if tag != 3 {
                return Ok(false);
            }
            seen = Some(buf.int16()?);
            Ok(true)
        })?;
        buf.finish()?;
        Ok(seen)
    };
    assert_eq!(read(&[0]), Ok(None));
    assert_eq!(read(&[2, 1, 1, 9, 3, 2, 0, 5]), Ok(Some(5)), "the stranger is skipped");
    assert_eq!(read(&[1, 3, 3, 0, 5, 0]), Err(DecodeError::TaggedFieldSize { tag: 3, left: 1 }));
    assert_eq!(
        read(&[1, 3, 1, 0, 5]),
        Err(DecodeError::Truncated { needed: 2, remaining: 1 }),
        "stays in its size"
    );
    assert_eq!(read(&[2, 3, 2, 0, 5, 3, 2, 0, 5]), Err(DecodeError::TagOrder { tag: 3, before: 3 }));
    assert_eq!(read(&[1, 9, 200, 1, 0]), Err(DecodeError::Truncated { needed: 200, remaining: 1 }));
    assert_eq!(read(&[0xff, 0xff, 0x7f]), Err(DecodeError::TooManyTaggedFields(0x1f_ffff)));
}

#[test]
fn large_payloads_go_out_without_a_copy() {
    let payload = Bytes::from(vec![7; REFERENCE_SIZE_MIN]);
    let mut records = Records::new();
    records.push(payload.clone());
    records.push(Bytes::from_static(b"small"));
    records.push(payload.clone());
    let mut out = Encoder::framed();
    out.int32(1);
    out.nullable_records(Some(&records), false).expect("fits");
    out.int8(9);
    let frame = out.finish_frame().expect("fits");
    assert_eq!(frame.size(), 4 + 4 + 4 + records.size() + 1);
    let pieces = frame.pieces();
    assert_eq!(pieces.len(), 5);
    assert_eq!(pieces[1].as_ptr(), payload.as_ptr(), "the same memory");
    assert_eq!(pieces[3].as_ptr(), payload.as_ptr(), "the same memory");
    let size = frame.size() as i32;
    assert_eq!(frame.into_contiguous()[..4], (size - 4).to_be_bytes());
}

#[test]
fn records_are_equal_however_they_are_cut() {
    let one = Records::from(Bytes::from_static(b"abcdef"));
    let two: Records =
        [Bytes::from_static(b"abc"), Bytes::new(), Bytes::from_static(b"def")].into_iter().collect();
    assert_eq!(one, two);
    assert_eq!(two.pieces().len(), 2);
    assert_eq!(two.into_contiguous(), &b"abcdef"[..]);
}

#[test]
fn ids_are_shown_as_kafka_shows_them() {
    assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(Uuid([0xff; 16]).to_string(), "_____________________w");
    assert_eq!(Uuid::from(1u128).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
}

#[test]
fn texts_can_leave_their_buffer() {
    let frame = Bytes::from_static(b"topic");
    let text = Str::from_utf8(frame.clone()).expect("ASCII");
    assert_eq!(text.as_bytes_shared().as_ptr(), frame.as_ptr());
    assert_ne!(text.detached().as_bytes_shared().as_ptr(), frame.as_ptr());
    assert_eq!(text, "topic");
}
