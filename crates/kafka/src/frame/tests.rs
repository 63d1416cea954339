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

/// What a driver does: a large frame's bytes go into its room, all others through `feed`, in reads of any size.
fn read_in_steps(reader: &mut FrameReader, mut stream: &[u8], step: usize) -> Vec<Bytes> {
    let mut frames = Vec::new();
    while !stream.is_empty() {
        let count = match reader.room() {
            Some(room) => {
                let count = room.len().min(step).min(stream.len());
                room[..count].copy_from_slice(&stream[..count]);
                reader.came(count);
                count
            }
            None => {
                let count = step.min(stream.len());
                reader.feed(&stream[..count]);
                count
            }
        };
        stream = &stream[count..];
        while let Some(frame) = reader.next_frame().expect("sizes are right") {
            frames.push(frame);
        }
    }
    frames
}

#[test]
fn large_frames_use_their_memory_again() {
    let sizes = [3, LARGE_FRAME_BYTES - 1, LARGE_FRAME_BYTES, 3 << 20, 5, 3 << 20, 1];
    let frame = |at: usize| (0..sizes[at]).map(|byte| (byte + at) as u8).collect::<Vec<u8>>();
    let mut stream = Vec::new();
    for (at, size) in sizes.iter().enumerate() {
        stream.extend((*size as u32).to_be_bytes());
        stream.extend(frame(at));
    }
    for step in [1000, RESERVED_FAST_BYTES, 100_001, stream.len()] {
        let buffers = Buffers::new(64 << 20);
        let mut reader = FrameReader::default().with_buffers(buffers.clone());
        let frames = read_in_steps(&mut reader, &stream, step);
        assert_eq!(frames.len(), sizes.len(), "steps of {step}");
        for (at, read) in frames.iter().enumerate() {
            assert!(*read == frame(at), "frame {at} in steps of {step}");
        }
        assert_eq!(reader.buffered(), 0);
        drop(frames);
        assert!(buffers.idle_bytes() >= 3 << 20 || step == stream.len());
    }
}

#[test]
fn a_large_frames_memory_grows_with_what_came() {
    let mut reader = FrameReader::default().with_buffers(Buffers::new(0));
    let whole = [&(FRAME_BYTES_MAX as i32).to_be_bytes()[..], &[7; RESERVED_FAST_BYTES]].concat();
    assert!(read_in_steps(&mut reader, &whole, whole.len()).is_empty());
    assert_eq!(reader.buffered(), whole.len());
    let room = reader.room().expect("a large frame is under way").len();
    assert!(room <= (RESERVED_FACTOR + RESERVED_FACTOR / 4) * whole.len(), "room for {room} bytes");
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
