//! The storage under test as one object: the three lanes behind one `run`, opened over the simulated disk.

use crate::disk::SimDisk;
use model::job::{Done, Job, JobError, Recovered};
use std::cell::RefCell;
use std::sync::Arc;
use storage::{Mutant, Options, Reader, Segments, Wal, WalSizes};

/// Sizes of WAL files.
pub type EngineSizes = WalSizes;
pub use storage::OpenError;

/// The cluster that every simulated disk belongs to.
const CLUSTER: [u8; 16] = *b"simulated-world!";

/// WAL, segments and reader of one life.
pub struct Engine {
    wal: RefCell<Wal<SimDisk>>,
    segments: RefCell<Segments<SimDisk>>,
    reader: RefCell<Reader<SimDisk>>,
    disk: SimDisk,
}

impl Engine {
    /// Opens the data directory and says what was found.
    ///
    /// # Errors
    /// As `storage::open`.
    pub fn open(
        disk: &SimDisk,
        sizes: EngineSizes,
        mutant: Option<Mutant>,
    ) -> Result<(Engine, Recovered), OpenError> {
        let options =
            Options { cluster: Some(CLUSTER), node: model::NodeId(1), disk: None, wal: sizes, mutant };
        let opened = storage::open(Arc::new(disk.clone()), options)?;
        let engine = Engine {
            wal: RefCell::new(opened.wal),
            segments: RefCell::new(opened.segments),
            reader: RefCell::new(opened.reader),
            disk: disk.clone(),
        };
        Ok((engine, opened.recovered))
    }

    /// Carries a job out on its lane.
    ///
    /// # Errors
    /// As the lane says.
    pub fn run(&self, job: Job) -> Result<Done, JobError> {
        match job {
            Job::Append(append) => self.wal.borrow_mut().append(append),
            Job::Recycle(recycle) => self.wal.borrow_mut().recycle(&recycle),
            Job::Checkpoint(checkpoint) => self.segments.borrow_mut().checkpoint(checkpoint),
            Job::Read(read) => self.readable(|reader| reader.read(&read)),
            Job::Lookup(lookup) => self.readable(|reader| reader.lookup(&lookup)),
            Job::Renew(renewal) => self.wal.borrow_mut().renew(renewal),
            Job::VerifyLog(from, bytes_max) => self.reader.borrow().verify_log(from, bytes_max),
            Job::Verify(read) => self.readable(|reader| reader.verify(&read)),
            Job::Mend(mend) => self.segments.borrow_mut().mend(mend),
        }
    }

    /// Reads as often as the disk fails to: what it does not give back is said to be damaged, and only that.
    fn readable(&self, read: impl Fn(&Reader<SimDisk>) -> Result<Done, JobError>) -> Result<Done, JobError> {
        loop {
            let errors = self.disk.read_errors();
            let result = read(&self.reader.borrow());
            let is_passing = self.disk.read_errors() > errors && self.disk.crashed().is_none();
            if !is_passing || !matches!(result, Err(JobError::Damaged { .. })) {
                return result;
            }
        }
    }

    /// How often segments were let go for want of space.
    pub fn releases(&self) -> u64 {
        self.segments.borrow().releases()
    }

    /// The segments of all partitions.
    pub fn manifest(&self) -> super::check::Segments {
        self.segments.borrow().manifest().clone()
    }

    /// The WAL's work for an idle moment.
    ///
    /// # Errors
    /// As the lane says.
    pub fn upkeep(&self) -> Result<bool, JobError> {
        self.wal.borrow_mut().upkeep()
    }
}
