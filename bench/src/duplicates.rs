//! Near-duplicates among many perceptual hashes: the label store's index, a scan of everything, and FAISS, on the same hashes in one
//! run, one thread each.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use label_store::duplicates::{HashIndex, MAX_DISTANCE};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use saga_imaging::{DecodeLimits, decode, grey, phash};

use crate::peer::Peer;
use crate::table::table;

/// What is measured.
#[derive(clap::Args)]
pub struct Options {
    /// Hashes that are searched.
    #[arg(long, default_value_t = 10_000_000)]
    count: usize,
    /// Searches; half of them are for a neighbour of a hash that is there.
    #[arg(long, default_value_t = 1_000)]
    queries: usize,
    /// A folder of folders of images: the hashes are theirs, with a few bits changed. Otherwise every hash is as likely.
    #[arg(long)]
    images: Option<PathBuf>,
    /// Python with the packages of bench/requirements.txt.
    #[arg(long, default_value = "python3")]
    python: String,
}

pub fn run(options: &Options) -> Result<()> {
    let mut hashes = Hashes {
        like: options
            .images
            .as_deref()
            .map_or(Ok(Vec::new()), of_images)?,
        random: ChaCha8Rng::seed_from_u64(7),
    };
    let all: Vec<u64> = (0..options.count).map(|_| hashes.next()).collect();
    let queries: Vec<u64> = (0..options.queries)
        .map(|n| match all.get(n * 7_919 % all.len().max(1)) {
            Some(there) if n % 2 == 0 => (0..n % 5).fold(*there, |hash, _| {
                hash ^ (1 << hashes.random.random_range(0..64))
            }),
            _ => hashes.next(),
        })
        .collect();

    let before = resident_bytes()?;
    let started = Instant::now();
    let mut index = HashIndex::default();
    all.iter().for_each(|&hash| index.insert(hash, ()));
    index.shrink_to_fit();
    let built = started.elapsed().as_secs_f64();
    let bytes = resident_bytes()?.saturating_sub(before);

    let (mut ours, mut scan) = (Vec::new(), Vec::new());
    for &query in &queries {
        ours.push(timed(|| index.near(query, MAX_DISTANCE).count()));
        let near = |hash: &&u64| (**hash ^ query).count_ones() <= MAX_DISTANCE;
        scan.push(timed(|| all.iter().filter(near).count()));
    }
    let faiss = Faiss::measure(&options.python, &all, &queries)?;
    let counts = |answers: &[Answer]| answers.iter().map(|a| a.count).collect::<Vec<_>>();
    ensure!(
        counts(&ours) == counts(&scan) && counts(&scan) == counts(&faiss.answers),
        "the searches do not find the same"
    );

    let flat = options.count * size_of::<u64>();
    let mut rows = table(&[
        "search",
        "built in s",
        "MB",
        "p50 ms",
        "p99 ms",
        "largest ms",
    ]);
    for (name, built, bytes, answers) in [
        ("index", built, bytes, &ours),
        ("scan", 0.0, flat, &scan),
        ("FAISS IndexBinaryFlat", faiss.built, flat, &faiss.answers),
    ] {
        let mut times: Vec<f64> = answers.iter().map(|a| a.seconds * 1e3).collect();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        rows.add_row([
            name.to_owned(),
            format!("{built:.1}"),
            format!("{:.0}", bytes as f64 / 1e6),
            format!("{:.3}", at(0.5)),
            format!("{:.3}", at(0.99)),
            format!("{:.3}", at(1.0)),
        ]);
    }
    let found: usize = counts(&ours).iter().sum();
    println!(
        "{} searches among {} hashes found {found} within {MAX_DISTANCE} bits.\n{rows}",
        queries.len(),
        all.len()
    );
    Ok(())
}

/// What one search found, and its time.
struct Answer {
    count: usize,
    seconds: f64,
}

fn timed(search: impl FnOnce() -> usize) -> Answer {
    let started = Instant::now();
    Answer {
        count: search(),
        seconds: started.elapsed().as_secs_f64(),
    }
}

/// Hashes with half of their bits set, as those of images have.
struct Hashes {
    like: Vec<u64>,
    random: ChaCha8Rng,
}

impl Hashes {
    fn next(&mut self) -> u64 {
        loop {
            let hash = match self.like.len() {
                0 => self.random.random(),
                many => {
                    let image = self.like[self.random.random_range(0..many)];
                    (0..12).fold(image, |hash, _| {
                        hash ^ (1 << self.random.random_range(0..64))
                    })
                }
            };
            if hash.count_ones() == u64::BITS / 2 {
                return hash;
            }
        }
    }
}

fn of_images(folder: &Path) -> Result<Vec<u64>> {
    let mut hashes = Vec::new();
    for class in fs::read_dir(folder)? {
        let Ok(files) = fs::read_dir(class?.path()) else {
            continue;
        };
        for file in files {
            let picture = decode(&fs::read(file?.path())?, &DecodeLimits::default())?;
            hashes.push(phash(&grey(&picture)));
        }
    }
    ensure!(!hashes.is_empty(), "{} has no images", folder.display());
    Ok(hashes)
}

/// FAISS's side.
struct Faiss {
    built: f64,
    answers: Vec<Answer>,
}

impl Faiss {
    fn measure(python: &str, hashes: &[u64], queries: &[u64]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for (name, hashes) in [("hashes", hashes), ("queries", queries)] {
            let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
            fs::write(folder.path().join(name), bytes)?;
        }
        let mut peer = Peer::start(python, folder.path(), true)?;
        let built = peer.round("faiss_build")?.seconds;
        let answers = peer.round("faiss_search")?.answers;
        let answer = |row: Vec<f64>| match row[..] {
            [count, seconds] => Some(Answer {
                count: count as usize,
                seconds,
            }),
            _ => None,
        };
        let answers: Option<_> = answers.into_iter().map(answer).collect();
        Ok(Self {
            built,
            answers: answers.context("the peer answers with a count and a time")?,
        })
    }
}

/// Memory of this process, as Linux tells it.
fn resident_bytes() -> Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.context("no VmRSS")?.parse::<usize>()? * 1024)
}
