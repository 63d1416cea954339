//! Attacks on a real node with an honest client beside each: the node lives, its memory stays below a named cap, the honest
//! client is served all along without an error, and the log says what happened. docs/hostile-inputs.md lists them all.
//!
//! `cargo test --release -p sternpost --test it -- --ignored --nocapture honest_figures` prints what the honest client sees.

mod decoding;
mod figures;
mod framing;
mod honest;
mod records;
mod resources;

use crate::node::Node;
use honest::Honest;
use std::time::Duration;

/// Most resident memory that a node may ever have had under an attack, bytes.
const PEAK_BYTES_MAX: usize = 512 << 20;

/// Records that the honest client must get acknowledged while an attack lasts.
const HONEST_RECORDS_MIN: usize = 20;

/// Something that an enemy or a broken client does.
struct Attack {
    name: &'static str,
    /// Settings of the node under attack, beside its defaults.
    settings: &'static [&'static str],
    /// What the log says of it; empty when an answer says it, or when nothing is wrong from where the node stands.
    line: &'static str,
    /// Does it once, and checks what comes back.
    round: fn(&Scene),
}

/// All of them.
const ATTACKS: &[&[Attack]] = &[framing::ATTACKS, decoding::ATTACKS, records::ATTACKS, resources::ATTACKS];

/// A node under attack and the honest client beside.
struct Scene {
    node: Node,
    honest: Honest,
    _directory: tempfile::TempDir,
}

impl Scene {
    fn start(settings: &[&str]) -> Scene {
        let directory = tempfile::tempdir().expect("a directory");
        let node = Node::start(&directory.path().join("data"), settings);
        let honest = Honest::start(node.connect());
        Scene { node, honest, _directory: directory }
    }

    /// Returns when the honest client has got more records acknowledged: for attacks that hold something meanwhile.
    fn honest_goes_on(&self) {
        self.honest.wait_for(self.honest.acknowledged() + HONEST_RECORDS_MIN);
    }

    /// The end of every attack.
    fn judge(self, attack: &Attack) -> Vec<Duration> {
        if !attack.line.is_empty() {
            self.node.wait_for_line(attack.line);
        }
        let peak = self.node.peak_bytes();
        assert!(peak < PEAK_BYTES_MAX, "{}: {} MiB of memory", attack.name, peak >> 20);
        // A newcomer is served too, and the honest client ends in peace.
        self.node.honest_question();
        self.honest.finish()
    }
}

/// One attack, again and again until the honest client has got enough done beside it.
fn beside(name: &str) {
    let attack =
        ATTACKS.iter().flat_map(|list| *list).find(|attack| attack.name == name).expect("a listed attack");
    let scene = Scene::start(attack.settings);
    scene.honest.wait_for(1);
    let enough = scene.honest.acknowledged() + HONEST_RECORDS_MIN;
    loop {
        (attack.round)(&scene);
        if scene.honest.acknowledged() >= enough {
            break;
        }
    }
    scene.judge(attack);
}

/// A test for each attack of a theme, named as the attack.
macro_rules! attacks {
    ($($name:ident: $settings:expr, $line:expr;)*) => {
        pub const ATTACKS: &[$crate::attacks::Attack] = &[$($crate::attacks::Attack {
            name: stringify!($name),
            settings: &$settings,
            line: $line,
            round: $name,
        }),*];

        #[cfg(test)]
        mod tests {
            $(#[test]
            fn $name() {
                $crate::attacks::beside(stringify!($name));
            })*
        }
    };
}
use attacks;
