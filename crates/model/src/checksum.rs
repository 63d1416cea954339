//! CRC-32C (Castagnoli, RFC 3720 B.4): the checksum of Kafka's record batches and of every structure that Sternpost writes.
//! Every record is summed on its way in, into the WAL and into its segment, so the speed of this is the speed of the walk.

use crc_fast::{CrcAlgorithm, Digest};

/// The CRC-32C of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c_append(0, bytes)
}

/// The CRC-32C of some bytes whose own is `crc`, followed by `bytes`.
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!crc));
    digest.update(bytes);
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_3720() {
        assert_eq!(crc32c(b""), 0);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn any_cut_gives_the_same_sum() {
        // Longer than every step of the vector code.
        let bytes: Vec<u8> = (0..3000_u32).map(|i| (i * 31 + i / 7) as u8).collect();
        let whole = crc32c(&bytes);
        for cut in (0..300).chain((300..bytes.len()).step_by(61)) {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(crc32c_append(crc32c(head), tail), whole, "cut at {cut}");
        }
    }
}
