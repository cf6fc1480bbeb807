//! Durations, counted in buckets that grow with them: no memory an answer, three hundredths of error at most.

use std::time::Duration;

/// Buckets to each doubling.
const STEPS: u32 = 32;
const BUCKETS: usize = (64 * STEPS) as usize;

/// How long things took.
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    count: u64,
    longest: Duration,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: Box::new([0; BUCKETS]), count: 0, longest: Duration::ZERO }
    }
}

impl Histogram {
    pub fn record(&mut self, took: Duration) {
        self.counts[bucket(nanos(took))] += 1;
        self.count += 1;
        self.longest = self.longest.max(took);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// The time that this part of all, between 0 and 1, did not exceed.
    pub fn quantile(&self, part: f64) -> Duration {
        let mut left = (self.count as f64 * part).ceil() as u64;
        for (at, count) in self.counts.iter().enumerate() {
            if left <= *count {
                return Duration::from_nanos(upper(at)).min(self.longest);
            }
            left -= count;
        }
        self.longest
    }

    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts.iter()) {
            *mine += theirs;
        }
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }
}

fn nanos(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}

fn bucket(nanos: u64) -> usize {
    let doublings = nanos.max(1).ilog2();
    if doublings < STEPS.ilog2() {
        return nanos as usize;
    }
    let shift = doublings - STEPS.ilog2();
    (shift * STEPS + (nanos >> shift) as u32) as usize
}

/// The longest time that falls into a bucket.
fn upper(bucket: usize) -> u64 {
    let (bucket, steps) = (bucket as u64, u64::from(STEPS));
    let shift = (bucket / steps).saturating_sub(1);
    ((bucket - shift * steps + 1) << shift) - 1
}

/// A duration as people read it.
pub fn shown(took: Duration) -> String {
    match nanos(took) {
        0..1_000_000 => format!("{:.0} us", took.as_secs_f64() * 1e6),
        1_000_000..1_000_000_000 => format!("{:.2} ms", took.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", took.as_secs_f64()),
    }
}

/// Figures of several rounds, by name; the median of each counts.
#[derive(Default)]
pub struct Figures(Vec<(String, Vec<f64>)>);

impl Figures {
    pub fn add(&mut self, name: &str, figure: f64) {
        match self.0.iter_mut().find(|it| it.0 == name) {
            Some((_, figures)) => figures.push(figure),
            None => self.0.push((name.to_owned(), vec![figure])),
        }
    }

    /// Prints them as scripts/floors reads them.
    pub fn print(self) {
        for (name, mut figures) in self.0 {
            figures.sort_by(f64::total_cmp);
            let (least, most) = (figures[0], figures[figures.len() - 1]);
            println!("{name}: {least:.3} to {most:.3} in {} rounds", figures.len());
            println!("FLOOR {name}={:.3}", figures[figures.len() / 2]);
        }
    }
}
