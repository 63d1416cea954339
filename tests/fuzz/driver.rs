//! Drives fuzz harnesses: the kept inputs in every test run, and mutations of them from a random seed for as long as wanted
//! (`cargo xtask fuzz`). A harness is a function of any bytes that panics when a promise is broken.
//!
//! Kept inputs: tests/fuzz/corpus/HARNESS.txt, a line of hex for each; `#` starts a comment.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A harness and its name.
pub type Harness = (&'static str, fn(&[u8]));

/// Longest input that mutation makes, bytes.
const INPUT_BYTES_MAX: usize = 16 << 10;
/// Inputs between two looks at the clock.
const INPUTS_AT_ONCE: u64 = 16;

/// Values at the edges of lengths, counts and offsets.
const EDGES: [i64; 14] = [
    0,
    1,
    -1,
    0x7f,
    0x80,
    0xff,
    i16::MAX as i64,
    i16::MIN as i64,
    i32::MAX as i64,
    i32::MIN as i64,
    i64::MAX,
    i64::MIN,
    1 << 20,
    61,
];

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/fuzz/corpus/{name}.txt"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("hex");
        u8::from_str_radix(pair, 16).unwrap_or_else(|_| panic!("{}: {pair:?} is no hex", path.display()))
    };
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let inputs: Vec<Vec<u8>> = lines.map(|line| line.as_bytes().chunks(2).map(byte).collect()).collect();
    assert!(!inputs.is_empty(), "{} holds no input", path.display());
    inputs
}

/// Runs one input; a failure tells which.
fn run((name, harness): Harness, input: &[u8], origin: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| harness(input))) {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!(
            "harness {name} failed on {origin}; to keep the input, add to tests/fuzz/corpus/{name}.txt:\n{hex}"
        );
        resume_unwind(panic);
    }
}

/// Runs every kept input.
pub fn replay(harness: Harness) {
    for (at, input) in corpus(harness.0).iter().enumerate() {
        run(harness, input, &format!("kept input {}", at + 1));
    }
}

/// Runs each harness for a while on mutations of its kept inputs.
pub fn smoke(harnesses: &[Harness]) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let time = Duration::from_millis(number("FUZZ_MILLISECONDS").unwrap_or(1000));
    for harness in harnesses {
        let seed = number("FUZZ_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
        let mut dice = Dice(seed | 1);
        let kept = corpus(harness.0);
        let began = Instant::now();
        let mut iterations = 0;
        while iterations % INPUTS_AT_ONCE != 0 || began.elapsed() < time {
            iterations += 1;
            run(*harness, &dice.input(&kept), &format!("input {iterations} of FUZZ_SEED={seed}"));
        }
        println!("fuzz: {:<28} {iterations:>9} inputs, seed {seed:>20}: passed", harness.0);
    }
}

struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end.max(1)
    }

    /// A kept input with some changes, now and then only random bytes.
    fn input(&mut self, kept: &[Vec<u8>]) -> Vec<u8> {
        let mut input = if self.below(16) == 0 {
            let size = self.below(300);
            (0..size).map(|_| self.next() as u8).collect()
        } else {
            kept[self.below(kept.len())].clone()
        };
        for _ in 0..self.below(5) {
            self.change(&mut input, kept);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, kept: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let length = self.below((input.len() - at).min(64) + 1);
        match self.below(8) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..at + length)),
            2 => {
                let again = input[at..at + length].to_vec();
                input.splice(at..at, again);
            }
            3 => {
                let other = &kept[self.below(kept.len())];
                let from = self.below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
            4 => {
                let value = EDGES[self.below(EDGES.len())].to_be_bytes();
                let size = [1, 2, 4, 8][self.below(4)];
                self.overwrite(input, at, &value[8 - size..]);
            }
            5 => {
                let value = EDGES[self.below(EDGES.len())].to_le_bytes();
                let size = [1, 2, 4, 8][self.below(4)];
                self.overwrite(input, at, &value[..size]);
            }
            6 => input.insert(at, self.next() as u8),
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << (self.next() % 8);
                }
            }
        }
    }

    fn overwrite(&mut self, input: &mut [u8], at: usize, bytes: &[u8]) {
        for (to, from) in input[at..].iter_mut().zip(bytes) {
            *to = *from;
        }
    }
}

/// A test for each harness (its kept inputs, then bolero's), and one that runs all of them for as long as wanted.
macro_rules! harnesses {
    ($($(#[$note:meta])* $name:ident: $iterations:expr, $run:expr;)*) => {
        $(
            $(#[$note])*
            #[test]
            fn $name() {
                $crate::driver::replay((stringify!($name), $run));
                bolero::check!().with_iterations($iterations).for_each(|input: &[u8]| $run(input));
            }
        )*

        #[test]
        #[ignore = "runs for a while; cargo xtask fuzz"]
        fn smoke() {
            $crate::driver::smoke(&[$((stringify!($name), $run)),*]);
        }
    };
}
pub(crate) use harnesses;
