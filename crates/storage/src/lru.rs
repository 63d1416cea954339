//! A bounded set of open things, the longest unused let go first. Small, so that eviction may look at all of it.

use std::collections::BTreeMap;

/// At most `limit` values by key.
#[derive(Debug)]
pub struct Lru<K, V> {
    limit: usize,
    clock: u64,
    values: BTreeMap<K, (u64, V)>,
}

impl<K: Ord + Clone, V: Clone> Lru<K, V> {
    /// Holds up to `limit` values.
    pub fn new(limit: usize) -> Lru<K, V> {
        assert!(limit > 0);
        Lru { limit, clock: 0, values: BTreeMap::new() }
    }

    /// The value, used now.
    pub fn get(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let (used, value) = self.values.get_mut(key)?;
        *used = self.clock;
        Some(value.clone())
    }

    /// Puts a value in, and another one out when full.
    pub fn put(&mut self, key: K, value: V) {
        if self.values.len() >= self.limit && !self.values.contains_key(&key) {
            let oldest = self.values.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            oldest.map(|oldest| self.values.remove(&oldest));
        }
        self.clock += 1;
        self.values.insert(key, (self.clock, value));
    }

    /// Forgets a value.
    pub fn remove(&mut self, key: &K) {
        self.values.remove(key);
    }
}
