//! Where a broker listens.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::Error;

/// Kafka's port, taken when an address names none.
pub const DEFAULT_PORT: u16 = 9092;

/// A host and a port; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Name or IP address, without brackets.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
}

impl Address {
    /// Reads `host:port,host:port`, Kafka's `bootstrap.servers`.
    pub fn list(text: &str) -> Result<Vec<Address>, Error> {
        let addresses: Vec<Address> = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        if addresses.is_empty() {
            return Err(Error::Address(text.to_string()));
        }
        Ok(addresses)
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Address, Error> {
        let wrong = || Error::Address(text.to_string());
        let bare = text.strip_prefix("PLAINTEXT://").unwrap_or(text);
        let (host, port) = if let Some(rest) = bare.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
            (host, rest.strip_prefix(':'))
        } else {
            match bare.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (bare, None),
            }
        };
        let port = match port {
            Some(port) => port.parse().map_err(|_| wrong())?,
            None => DEFAULT_PORT,
        };
        if host.is_empty() || port == 0 || host.contains(['/', ' ']) {
            return Err(wrong());
        }
        Ok(Address { host: host.into(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_kafka_writes_them() {
        let shown = |text: &str| {
            let list = Address::list(text)?;
            Ok::<_, Error>(list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(shown("a:1, b:2,").unwrap(), "a:1 b:2");
        assert_eq!(shown("PLAINTEXT://a:1").unwrap(), "a:1");
        assert_eq!(shown("a").unwrap(), "a:9092");
        assert_eq!(shown("[::1]:7").unwrap(), "[::1]:7");
        for wrong in ["", ",", ":1", "a:b", "a:0", "a:70000", "http://a:1"] {
            assert!(matches!(shown(wrong), Err(Error::Address(_))), "{wrong}");
        }
    }
}
