//! Decompression bombs, in a process of their own: the test watches the peak memory of the whole process, which tests that
//! run beside it would raise.

use bytes::Bytes;
use kafka::records::{
    BatchBuilder, Codec, DECOMPRESSED_BYTES_MAX, Limits, NewRecord, RecordsError, records, validate,
};
use model::batch::{BatchHeader, HEADER_BYTES, LENGTH_END, crc_of};
use std::io::Read;

/// A batch that claims `body` as its compressed records, with a right length and CRC.
fn around(body: &[u8], codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(&NewRecord::default());
    let sample = builder.build().expect("builds");
    let mut whole = [&sample[..HEADER_BYTES], body].concat();
    let mut header = BatchHeader::read(&whole).expect("a header");
    header.batch_length = (HEADER_BYTES - LENGTH_END + body.len()) as i32;
    header.attributes = codec as i16;
    header.write((&mut whole[..HEADER_BYTES]).try_into().expect("61 bytes"));
    header.crc = crc_of(&whole);
    header.write((&mut whole[..HEADER_BYTES]).try_into().expect("61 bytes"));
    whole.into()
}

/// Peak resident memory of this process so far, bytes.
fn memory_peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("VmHWM");
    let kib: usize = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number of KiB");
    kib << 10
}

#[test]
fn bombs_are_refused_with_bounded_memory() {
    // One record whose value is `size` zeroes.
    fn bomb(codec: Codec, size: u64) -> Vec<u8> {
        let mut start = vec![0x80, 0x80, 0x80, 0x80, 0x0f, 0, 0, 0, 1];
        start.extend([0x80, 0x80, 0x80, 0x80, 0x0e]);
        let mut plain = start.chain_zeroes(size);
        let mut out = Vec::new();
        match codec {
            Codec::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::default());
                std::io::copy(&mut plain, &mut encoder).expect("memory");
                encoder.finish().expect("memory");
            }
            Codec::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(&mut out);
                std::io::copy(&mut plain, &mut encoder).expect("memory");
                encoder.finish().expect("memory");
            }
            Codec::Zstd => zstd::stream::copy_encode(plain, &mut out, 3).expect("memory"),
            Codec::None | Codec::Snappy => panic!("no stream in this test"),
        }
        out
    }
    trait ChainZeroes {
        fn chain_zeroes(self, size: u64) -> Box<dyn Read>;
    }
    impl ChainZeroes for Vec<u8> {
        fn chain_zeroes(self, size: u64) -> Box<dyn Read> {
            Box::new(std::io::Cursor::new(self).chain(std::io::repeat(0).take(size)))
        }
    }
    for (codec, size, factor) in
        [(Codec::Gzip, 128 << 20, 1000), (Codec::Lz4, 128 << 20, 200), (Codec::Zstd, 1 << 30, 10_000)]
    {
        let body = bomb(codec, size);
        assert!(size > body.len() as u64 * factor, "{codec:?}: {} bytes", body.len());
        let before = memory_peak();
        let batch = around(&body, codec);
        assert_eq!(
            validate(batch.clone(), &Limits::default()),
            Err(RecordsError::DecompressedTooLarge(DECOMPRESSED_BYTES_MAX))
        );
        assert!(records(&batch, 1 << 20).is_err());
        let grown = memory_peak() - before;
        assert!(grown < 32 << 20, "{codec:?}: {} MiB", grown >> 20);
    }
}
