//! Which version of each request a connection uses: the highest that both sides speak.

use std::collections::BTreeMap;

use kafka::message::ApiKey;
use kafka::message::api_versions::ApiVersion;

/// What one broker speaks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versions(BTreeMap<i16, (i16, i16)>);

impl Versions {
    /// From the broker's list.
    pub fn new(keys: &[ApiVersion]) -> Versions {
        Versions(keys.iter().map(|key| (key.api_key, (key.min_version, key.max_version))).collect())
    }

    /// The highest version in common.
    pub fn pick(&self, key: ApiKey) -> Option<i16> {
        let (theirs_min, theirs_max) = *self.0.get(&key.code())?;
        let version = theirs_max.min(version_max(key));
        (version >= theirs_min.max(*key.valid_versions().start())).then_some(version)
    }
}

/// Highest version this client uses. From the next one on, four requests name topics by their id alone; this client
/// goes by name, so that a topic made anew under an old name is simply that topic.
fn version_max(key: ApiKey) -> i16 {
    match key {
        ApiKey::Produce | ApiKey::Fetch => 12,
        ApiKey::OffsetCommit | ApiKey::OffsetFetch => 9,
        key if key.latest_version_unstable() => key.valid_versions().end() - 1,
        key => *key.valid_versions().end(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_taken() {
        let of = |min_version, max_version| {
            Versions::new(&[ApiVersion { api_key: ApiKey::Metadata.code(), min_version, max_version }])
                .pick(ApiKey::Metadata)
        };
        assert_eq!(of(0, 5), Some(5));
        assert_eq!(of(4, 99), Some(13));
        assert_eq!(of(14, 99), None);
        assert_eq!(Versions::default().pick(ApiKey::Metadata), None);
    }
}
