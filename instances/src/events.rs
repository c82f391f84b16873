//! What happened to instances, for those who watch.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use bulkhead_runtime::Isolation;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::journal::{Changes, JournalError, Reader, Writer};
use crate::{Config, InstanceId, Timestamp};

/// Bytes of one file of events.
const FILE_BYTES: u64 = 1 << 20;
/// How many files are kept.
const FILES: u32 = 4;

/// One thing that happened to one instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// What, in docker's words: `create`, `start`, `die`, …
    pub action: String,
    /// To which instance.
    pub id: InstanceId,
    /// As it was called.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Its wall.
    pub isolation: Isolation,
    /// What else there is to say.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// The events of a store.
#[derive(Debug, Clone)]
pub struct Events {
    dir: PathBuf,
}

impl Events {
    /// Those in `dir`.
    #[must_use]
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Notes that something happened now. Nothing fails because it cannot be noted.
    pub fn note(&self, config: &Config, action: &str, attributes: &[(&str, String)]) {
        // As docker does: the labels are among what there is to say.
        let mut all = config.labels.clone();
        all.extend(attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let event = Event {
            time: Timestamp::now(),
            action: action.to_owned(),
            id: config.id.clone(),
            name: config.name.clone(),
            image: config.image.clone(),
            isolation: config.isolation,
            attributes: all,
        };
        let _ = self.append(&event);
    }

    fn append(&self, event: &Event) -> Result<(), JournalError> {
        let Ok(mut line) = serde_json::to_vec(event) else { return Ok(()) };
        line.push(b'\n');
        // Two at once would begin the same new file.
        let lock = File::open(&self.dir).ok();
        if let Some(dir) = &lock {
            let _ = flock(dir, FlockOperation::LockExclusive);
        }
        Writer::open(&self.dir, FILE_BYTES, FILES)?.append(&line)
    }

    /// Those that are kept, and then those to come.
    ///
    /// # Errors
    ///
    /// When they cannot be listed.
    pub fn reader(&self) -> Result<EventReader, JournalError> {
        Reader::open(&self.dir).map(EventReader)
    }

    /// Tells when there may be more. Makes the directory, so that it can be watched.
    ///
    /// # Errors
    ///
    /// When the kernel gives no more watches.
    pub fn changes(&self) -> Result<Changes, JournalError> {
        Writer::open(&self.dir, FILE_BYTES, FILES)?;
        Changes::of(&[Path::new(&self.dir)])
    }
}

/// The reading end.
#[derive(Debug)]
pub struct EventReader(Reader);

impl EventReader {
    /// The next event that is there now.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn next_event(&mut self) -> Result<Option<Event>, JournalError> {
        while let Some(line) = self.0.next_line()? {
            if let Ok(event) = serde_json::from_slice(&line) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}
