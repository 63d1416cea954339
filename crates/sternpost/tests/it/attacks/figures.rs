//! What the honest client sees, without and with each attack: figures for docs/hostile-inputs.md, not a test that passes or
//! fails by the clock.

use super::{ATTACKS, Scene};
use std::time::{Duration, Instant};

/// Seconds of honest work alone, and seconds of each attack.
const SECONDS_DEFAULT: u64 = 5;

fn percentile(latencies: &mut [Duration], share: f64) -> f64 {
    latencies.sort_unstable();
    let at = (latencies.len() as f64 * share) as usize;
    latencies.get(at.min(latencies.len().saturating_sub(1))).map_or(0.0, |it| it.as_secs_f64() * 1e3)
}

#[test]
#[ignore = "prints figures; takes minutes"]
fn honest_figures() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seconds = Duration::from_secs(number("ATTACK_SECONDS").unwrap_or(SECONDS_DEFAULT));
    let only = std::env::var("ATTACK").unwrap_or_default();
    println!(
        "| attack | rounds | p50 alone, ms | p50 beside | p99 alone, ms | p99 beside | longest | peak MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for attack in ATTACKS.iter().flat_map(|list| *list).filter(|attack| attack.name.contains(&only)) {
        let scene = Scene::start(attack.settings);
        scene.honest.wait_for(100);
        drop(scene.honest.take_latencies());
        let began = Instant::now();
        while began.elapsed() < seconds {
            scene.honest.wait_for(scene.honest.acknowledged() + 10);
        }
        let mut alone = scene.honest.take_latencies();
        let mut rounds = 0;
        let began = Instant::now();
        while began.elapsed() < seconds {
            (attack.round)(&scene);
            rounds += 1;
        }
        let mut with = scene.honest.take_latencies();
        let peak = scene.node.peak_bytes() >> 20;
        println!(
            "| {} | {rounds} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {peak} |",
            attack.name,
            percentile(&mut alone, 0.5),
            percentile(&mut with, 0.5),
            percentile(&mut alone, 0.99),
            percentile(&mut with, 0.99),
            percentile(&mut with, 1.0),
        );
        scene.judge(attack);
    }
}
