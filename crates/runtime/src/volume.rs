//! The size of the volume that the data directory lies on, told to the core from time to time: the core sees no disk, and clients ask it
//! (DescribeLogDirs).

use crate::core::Input;
use crate::driver::Driver;
use broker::request::Volume;
use std::sync::Weak;
use std::time::Duration;

/// Time between two looks: a person or a console reads what comes of it.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Looks until the driver is gone. A volume may take its time (or for ever) to answer, so not on a thread that serves sockets.
pub async fn watch(data_dir: String, driver: Weak<Driver>) {
    let mut moment = tokio::time::interval(LOOK_EVERY);
    moment.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        moment.tick().await;
        let data_dir = data_dir.clone();
        let Ok(volume) = tokio::task::spawn_blocking(move || look(&data_dir)).await else { return };
        let Some(driver) = driver.upgrade() else { return };
        driver.put(Input::Volume(volume));
    }
}

/// `None`: the system does not tell.
fn look(data_dir: &str) -> Option<Volume> {
    let found = rustix::fs::statvfs(data_dir).ok()?;
    Some(Volume {
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        usable_bytes: found.f_bavail.saturating_mul(found.f_frsize),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_lies_on_a_volume_and_what_is_not_there_does_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let found = look(directory.path().to_str().expect("text")).expect("it is there");
        assert!(found.total_bytes > 0 && found.usable_bytes <= found.total_bytes, "{found:?}");
        let missing = directory.path().join("missing");
        assert_eq!(look(missing.to_str().expect("text")), None);
    }
}
