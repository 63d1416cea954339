//! Frames cut at every place, sizes that lie, and headers of each version.

use super::*;
use crate::message::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::message::fetch::FetchRequest;
use crate::message::metadata::MetadataRequest;

#[test]
fn frames_survive_any_cut() {
    let stream = [&[0, 0, 0, 3][..], b"abc", &[0, 0, 0, 1], b"d"].concat();
    for cut in 0..stream.len() {
        let mut reader = FrameReader::default();
        let mut frames = Vec::new();
        for part in [&stream[..cut], &stream[cut..]] {
            reader.feed(part);
            while let Some(frame) = reader.next_frame().expect("sizes are right") {
                frames.push(frame);
            }
        }
        assert_eq!(frames, [&b"abc"[..], b"d"], "cut at {cut}");
        assert_eq!(reader.buffered(), 0);
    }
}

#[test]
fn sizes_that_lie_are_refused() {
    let check = |size: i32, want: FrameError| {
        let mut reader = FrameReader::new(1000);
        reader.feed(&size.to_be_bytes());
        assert_eq!(reader.next_frame(), Err(want));
    };
    check(0, FrameError::Empty);
    check(-1, FrameError::Negative(-1));
    check(i32::MIN, FrameError::Negative(i32::MIN));
    check(1001, FrameError::TooLarge { size: 1001, max: 1000 });
    check(i32::MAX, FrameError::TooLarge { size: i32::MAX as usize, max: 1000 });
}

#[test]
fn a_claimed_size_costs_no_memory() {
    let mut reader = FrameReader::default();
    reader.feed(&(FRAME_BYTES_MAX as i32).to_be_bytes());
    assert_eq!(reader.next_frame(), Ok(None));
    assert!(reader.buffer_mut().capacity() <= 2 * RESERVED_BYTES_MIN);
}

#[test]
fn request_headers_of_both_versions() {
    let client = Str::from("tester");
    let check = |frame: Segments, key: ApiKey, version: i16| {
        let frame = frame.into_contiguous();
        assert_eq!(frame[..4], (frame.len() as i32 - 4).to_be_bytes());
        let mut buf = Decoder::new(frame.slice(4..));
        let (read_key, header) = decode_request_header(&mut buf).expect("header");
        assert_eq!((read_key, header.request_api_version, header.correlation_id), (key, version, 9));
        assert_eq!(header.client_id.as_ref(), Some(&client));
        buf
    };
    let old = MetadataRequest::default();
    let mut buf = check(encode_request(&old, 4, 9, Some(&client)).expect("v4"), ApiKey::Metadata, 4);
    assert_eq!(MetadataRequest::decode(&mut buf, 4), Ok(old));
    let new = FetchRequest::default();
    let mut buf = check(encode_request(&new, 16, 9, Some(&client)).expect("v16"), ApiKey::Fetch, 16);
    assert_eq!(FetchRequest::decode(&mut buf, 16), Ok(new));
    assert_eq!(buf.finish(), Ok(()));
}

#[test]
fn an_unknown_key_is_named() {
    let mut buf = Decoder::new(Bytes::from_static(&[0x27, 0x0f, 0, 0, 0, 0, 0, 1, 0xff, 0xff]));
    assert_eq!(decode_request_header(&mut buf), Err(DecodeError::UnknownApiKey(9999)));
}

#[test]
fn api_versions_answers_keep_header_version_zero() {
    let body = ApiVersionsResponse::default();
    let frame = encode_response(ApiKey::ApiVersions, 4, 7, |out| body.encode(out, 4)).expect("response");
    let frame = frame.into_contiguous().slice(4..);
    assert_eq!(frame[..6], [0, 0, 0, 7, 0, 0], "correlation id, then the error code at once");
    assert_eq!(decode_response::<ApiVersionsRequest>(frame, 4), Ok((7, body)));
}
