//! Attacks on frames: sizes that lie, bytes that never come, other protocols, requests whose answers nobody reads.

use super::{Scene, attacks};
use crate::node::{Client, PATIENCE, read_to_end};
use kafka::frame::decode_response;
use kafka::message::api_versions::ApiVersionsRequest;
use std::io::Write;
use std::time::Instant;

attacks! {
    sizes_that_no_frame_has: [], "frame size is zero";
    http_on_the_kafka_port: [], "speaks HTTP";
    tls_on_the_kafka_port: [], "starts TLS";
    unknown_keys_and_versions: [], "is not served";
    security_words_before_security: [], "api key 17 is not served";
    random_bytes: [], "closed the connection";
    a_size_and_then_silence: ["sternpost.frame.timeout.ms=1500"], "did not become whole in time";
    many_half_frames: ["sternpost.frame.timeout.ms=1500"], "did not become whole in time";
    one_byte_at_a_time: ["sternpost.frame.timeout.ms=500"], "did not become whole in time";
    a_hundred_thousand_requests_without_reading: [], "";
}

/// Sends bytes on a connection of their own; the node must close it, and may say nothing before.
fn closes_on(scene: &Scene, bytes: &[u8]) {
    let mut stream = scene.node.connect();
    stream.write_all(bytes).expect("the node accepts");
    assert_eq!(read_to_end(&mut stream), 0);
}

fn sizes_that_no_frame_has(scene: &Scene) {
    for size in [0, -1, i32::MIN, i32::MAX, 104_857_601] {
        closes_on(scene, &size.to_be_bytes());
    }
}

fn http_on_the_kafka_port(scene: &Scene) {
    for start in ["GET /metrics", "POST /topics/x", "PRI *", "DELETE /", "OPTIONS *"] {
        closes_on(scene, format!("{start} HTTP/1.1\r\nhost: here\r\n\r\n").as_bytes());
    }
}

fn tls_on_the_kafka_port(scene: &Scene) {
    for version in [1, 3] {
        closes_on(scene, &[0x16, 3, version, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
    }
}

fn unknown_keys_and_versions(scene: &Scene) {
    for (key, version) in [(0x7fff, 0), (-1, 0), (3, 0x7fff), (0, 0), (1, -1)] {
        let mut frame = 10_i32.to_be_bytes().to_vec();
        frame.extend(i16::to_be_bytes(key));
        frame.extend(i16::to_be_bytes(version));
        frame.extend([0, 0, 0, 1, 0xff, 0xff]);
        closes_on(scene, &frame);
    }
}

/// SaslHandshake and SaslAuthenticate with a huge token: not served, so that no token is looked at.
fn security_words_before_security(scene: &Scene) {
    for key in [17_i16, 36] {
        let mut frame = (12 + (1_i32 << 20)).to_be_bytes().to_vec();
        frame.extend(key.to_be_bytes());
        frame.extend([0, 1, 0, 0, 0, 1, 0xff, 0xff]);
        frame.extend(vec![b'a'; (1 << 20) + 2]);
        let mut stream = scene.node.connect();
        // The node may be gone before the end of it.
        if stream.write_all(&frame).is_ok() {
            assert_eq!(read_to_end(&mut stream), 0);
        }
    }
}

fn random_bytes(scene: &Scene) {
    let mut state = scene.honest.acknowledged() as u64 + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    for _ in 0..50 {
        let size = 8 + usize::from(next());
        let mut frame = (size as i32).to_be_bytes().to_vec();
        // A served key every other time, so that some get past the header.
        frame.extend([0, next() % 62, 0, next() % 10]);
        frame.extend((4..size).map(|_| next()));
        let mut stream = scene.node.connect();
        stream.write_all(&frame).expect("the node accepts");
        stream.shutdown(std::net::Shutdown::Write).expect("half closed");
        read_to_end(&mut stream);
    }
}

fn a_size_and_then_silence(scene: &Scene) {
    let mut streams: Vec<_> = (0..50).map(|_| scene.node.connect()).collect();
    for stream in &mut streams {
        stream.write_all(&104_857_600_i32.to_be_bytes()).expect("the node reads");
    }
    for stream in &mut streams {
        assert_eq!(read_to_end(stream), 0);
    }
}

fn many_half_frames(scene: &Scene) {
    let mut streams: Vec<_> = (0..400).map(|_| scene.node.connect()).collect();
    for stream in &mut streams {
        stream.write_all(&100_000_000_i32.to_be_bytes()).expect("the node reads");
        stream.write_all(&[0; 1000]).expect("the node reads");
    }
    scene.honest_goes_on();
    for stream in &mut streams {
        assert_eq!(read_to_end(stream), 0);
    }
}

/// Each byte is progress, yet the frame is not whole in time. Writing fails once the node has closed.
fn one_byte_at_a_time(scene: &Scene) {
    let mut stream = scene.node.connect();
    stream.write_all(&1_000_000_i32.to_be_bytes()).expect("the node reads");
    let began = Instant::now();
    // The honest client's records are the clock: a byte for each.
    while stream.write_all(&[0]).is_ok() {
        assert!(began.elapsed() < PATIENCE, "the connection is not closed");
        scene.honest.wait_for(scene.honest.acknowledged() + 1);
    }
}

fn a_hundred_thousand_requests_without_reading(scene: &Scene) {
    const COUNT: usize = 100_000;
    let mut client = Client::new(scene.node.connect());
    let mut writer = Client::new(client.stream.try_clone().expect("a second handle"));
    // The node stops reading, so writing must not wait for it on this thread.
    let sending = std::thread::spawn(move || {
        for _ in 0..COUNT {
            writer.send(&ApiVersionsRequest::default(), 0);
        }
    });
    let before = scene.node.resident_bytes();
    scene.honest_goes_on();
    let grown = scene.node.resident_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes for requests that wait");
    for number in 0..COUNT {
        let frame = client.receive().expect("an answer");
        let (id, _) = decode_response::<ApiVersionsRequest>(frame, 0).expect("a whole answer");
        assert_eq!(id, number as i32);
    }
    sending.join().expect("all sent");
}
