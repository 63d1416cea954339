//! What the honest client sees, without and with each attack: figures for docs/hostile-inputs.md, not a test that passes or
//! fails by the clock. The attacker runs on the same machine, so that a part of what the client loses is the processor's:
//! the controls take as much of it and ask nothing of the node.

use super::{ATTACKS, Scene};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Seconds of honest work alone, and seconds of each attack.
const SECONDS_DEFAULT: u64 = 5;
/// Controls: so many busy loops instead of an attack.
const BUSY_LOOPS: [usize; 3] = [1, 2, 3];

fn percentile(latencies: &mut [Duration], share: f64) -> f64 {
    latencies.sort_unstable();
    let at = (latencies.len() as f64 * share) as usize;
    latencies.get(at.min(latencies.len().saturating_sub(1))).map_or(0.0, |it| it.as_secs_f64() * 1e3)
}

/// Latencies of a stretch, and the processor time of both sides: this process (the attacker and the honest client) and the node.
struct Stretch {
    latencies: Vec<Duration>,
    cores: [f64; 2],
}

fn stretch(scene: &Scene, act: impl FnOnce()) -> Stretch {
    let cpu = || [std::process::id(), scene.node.id()].map(crate::node::cpu_time);
    drop(scene.honest.take_latencies());
    let (began, before) = (Instant::now(), cpu());
    act();
    let (latencies, after, took) = (scene.honest.take_latencies(), cpu(), began.elapsed());
    let share = |at: usize| (after[at] - before[at]).as_secs_f64() / took.as_secs_f64();
    Stretch { latencies, cores: [share(0), share(1)] }
}

/// Lets the honest client work.
fn watch(scene: &Scene, seconds: Duration) {
    let began = Instant::now();
    while began.elapsed() < seconds {
        scene.honest.wait_for(scene.honest.acknowledged() + 10);
    }
}

/// A row: how the honest client fares alone, then beside what `act` does again and again for `seconds`.
fn row(name: &str, scene: &Scene, seconds: Duration, act: impl Fn()) {
    scene.honest.wait_for(100);
    let mut alone = stretch(scene, || watch(scene, seconds));
    let mut rounds = 0;
    let mut beside = stretch(scene, || {
        let began = Instant::now();
        while began.elapsed() < seconds {
            act();
            rounds += 1;
        }
    });
    let [p50, p99] = [0.5, 0.99].map(|share| percentile(&mut alone.latencies, share));
    let [with_p50, with_p99, longest] =
        [0.5, 0.99, 1.0].map(|share| percentile(&mut beside.latencies, share));
    println!(
        "| {name} | {rounds} | {:.2}, {:.2} | {p50:.2} | {with_p50:.2} | {p99:.2} | {with_p99:.2} | {:.1} | {longest:.1} | {} |",
        beside.cores[0],
        beside.cores[1],
        with_p99 / p99,
        scene.node.peak_bytes() >> 20,
    );
}

/// Runs `act` beside threads that only count.
fn beside_busy_loops(count: usize, act: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        act();
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
#[ignore = "prints figures; takes minutes"]
fn honest_figures() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seconds = Duration::from_secs(number("ATTACK_SECONDS").unwrap_or(SECONDS_DEFAULT));
    let only = std::env::var("ATTACK").unwrap_or_default();
    println!(
        "| attack | rounds | cores of attacker, node | p50 alone, ms | p50 beside | p99 alone, ms | p99 beside | ratio | longest | peak MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for count in BUSY_LOOPS {
        let name = format!("{count} busy loops");
        if name.contains(&only) {
            let scene = Scene::start(&[]);
            row(&name, &scene, seconds, || beside_busy_loops(count, || watch(&scene, seconds)));
            scene.honest.finish();
        }
    }
    for attack in ATTACKS.iter().flat_map(|list| *list).filter(|attack| attack.name.contains(&only)) {
        let scene = Scene::start(attack.settings);
        row(attack.name, &scene, seconds, || (attack.round)(&scene));
        scene.judge(attack);
    }
}
