//! Where a peer is: its name is looked up anew for each try, because it may lead elsewhere by now. A look-up that fails or takes
//! long does not keep nodes apart: the addresses found last count then. One look-up at a time, since the system's cannot be
//! called off.

use broker::config::ListenerAddress;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::sync::Notify;
use tokio::time::timeout;

/// A look-up that takes longer goes on, and what was found before counts.
const LOOKUP_MAX: Duration = Duration::from_millis(500);

/// Who knows which addresses a name leads to.
#[derive(Clone, Debug, Default)]
pub enum Names {
    /// The system.
    #[default]
    System,
    /// A table in its place, so that a test can let a name lead elsewhere.
    #[cfg(test)]
    Table(Arc<Mutex<std::collections::BTreeMap<String, SocketAddr>>>),
}

impl Names {
    async fn look_up(&self, given: &ListenerAddress) -> std::io::Result<Vec<SocketAddr>> {
        match self {
            Names::System => Ok(lookup_host((given.host.as_str(), given.port)).await?.collect()),
            #[cfg(test)]
            Names::Table(table) => {
                let table = table.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(table.get(&given.host).copied().into_iter().collect())
            }
        }
    }
}

/// A peer's name and what is known of it.
#[derive(Debug)]
pub struct Address {
    /// As it stands in the settings.
    pub given: ListenerAddress,
    names: Names,
    known: Mutex<Known>,
    looked_up: Notify,
}

#[derive(Debug, Default)]
struct Known {
    found: Vec<SocketAddr>,
    is_looking: bool,
    /// Why the last look-up found nothing.
    failure: Option<String>,
}

impl Address {
    /// Nothing is known of it yet.
    pub fn new(given: ListenerAddress, names: Names) -> Address {
        Address { given, names, known: Mutex::default(), looked_up: Notify::new() }
    }

    /// The socket addresses to try.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn look_up(self: &Arc<Address>) -> Result<Vec<SocketAddr>, String> {
        if let Ok(ip) = self.given.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, self.given.port)]);
        }
        let looked_up = self.looked_up.notified();
        tokio::pin!(looked_up);
        looked_up.as_mut().enable();
        if !std::mem::replace(&mut self.known().is_looking, true) {
            let this = self.clone();
            tokio::spawn(async move {
                this.learn(this.names.look_up(&this.given).await);
            });
        }
        // Late is as good as failed.
        drop(timeout(LOOKUP_MAX, looked_up).await);
        let known = self.known();
        match (&known.failure, known.found.as_slice()) {
            (Some(failure), []) => Err(failure.clone()),
            (None, []) => Err(format!("the look-up of {} takes long", self.given.host)),
            (_, found) => Ok(found.to_vec()),
        }
    }

    fn learn(&self, found: std::io::Result<Vec<SocketAddr>>) {
        let host = &self.given.host;
        let mut known = self.known();
        known.is_looking = false;
        known.failure = match found {
            Ok(found) if found.is_empty() => Some(format!("{host} has no address")),
            Ok(found) => {
                known.found = found;
                None
            }
            Err(error) => Some(format!("cannot find the address of {host}: {error}")),
        };
        drop(known);
        self.looked_up.notify_waiters();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str) -> Arc<Address> {
        Arc::new(Address::new(ListenerAddress { host: host.into(), port: 7 }, Names::System))
    }

    #[tokio::test]
    async fn numbers_need_no_look_up() {
        let found = address("::1").look_up().await.unwrap();
        assert_eq!(found, ["[::1]:7".parse().unwrap()]);
    }

    #[tokio::test]
    async fn what_was_found_before_counts_when_a_look_up_fails() {
        let address = address("a name that no system knows.");
        assert!(address.look_up().await.is_err());
        let before: SocketAddr = "127.0.0.1:7".parse().unwrap();
        address.learn(Ok(vec![before]));
        assert_eq!(address.look_up().await.unwrap(), [before]);
    }
}
