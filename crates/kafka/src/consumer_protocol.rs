//! What classic consumer groups put into the opaque bytes of JoinGroup and SyncGroup: a version and a message behind
//! it. Only clients and tools look inside; the broker passes the bytes on.

use bytes::Bytes;

use crate::message::Message;
use crate::wire::{DecodeError, Decoder, EncodeError, Encoder};

/// Writes a subscription or assignment behind its version.
pub fn encode<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut out = Encoder::new();
    out.int16(version);
    message.encode(&mut out, version)?;
    Ok(out.finish().into_contiguous())
}

/// Reads a subscription or assignment. A version above ours is read as our highest: later ones only add at the end,
/// so bytes may be left over.
pub fn decode<M: Message>(bytes: Bytes) -> Result<M, DecodeError> {
    let mut buf = Decoder::new(bytes);
    let version = buf.int16()?;
    M::decode(&mut buf, version.min(M::VERSION_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::consumer_protocol_subscription::ConsumerProtocolSubscription;

    #[test]
    fn a_later_version_is_read_as_ours() {
        let subscription = ConsumerProtocolSubscription {
            topics: vec!["flights".into()],
            rack_id: Some("r1".into()),
            ..Default::default()
        };
        let bytes = encode(&subscription, 3).expect("fits");
        assert_eq!(decode(bytes.clone()), Ok(subscription.clone()));
        let later = [&[0, 9], &bytes[2..], b"more"].concat();
        assert_eq!(decode(later.into()), Ok(subscription));
        let negative = [&[0xff, 0xff], &bytes[2..]].concat();
        assert!(decode::<ConsumerProtocolSubscription>(negative.into()).is_err());
    }
}
