//! What a stage has come to.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::rc::Rc;

use super::archive::{self, Entries};
use super::document::Document;
use super::error::StepError;
use super::expand::expand;
use crate::accounts::Accounts;
use crate::file::FileError;
use crate::merged::MergedView;
use crate::store::{BuiltLayer, LayerSlot, Store, Transaction};
use crate::tarball::lossy;
use crate::unpack::{Unpack, UnpackLimits};
use crate::{Digest, Image, NoProgress};

/// Names that are arguments without being declared, and no part of an image.
pub(super) const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Compression of layers: gzip, which everything reads, at a level that is done in a
/// third of the default's time for a few more bytes.
const LEVEL: u32 = 3;

/// A stage.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    pub document: Document,
    /// Bottom first.
    pub layers: Vec<BuiltLayer>,
    /// Directories of those that show, topmost first.
    pub dirs: Vec<PathBuf>,
    /// Arguments that have a value.
    pub args: BTreeMap<String, String>,
    /// A command of its own has been given.
    pub has_cmd: bool,
    pub escape: char,
    view: OnceCell<Option<Rc<MergedView>>>,
}

impl Stage {
    /// A stage without any files.
    pub fn scratch(escape: char) -> Self {
        Self {
            document: Document::empty(),
            layers: Vec::new(),
            dirs: Vec::new(),
            args: BTreeMap::new(),
            has_cmd: false,
            escape,
            view: OnceCell::new(),
        }
    }

    /// A stage that begins with an image.
    pub fn of_image(image: &Image, store: &Store, escape: char) -> Result<Self, StepError> {
        let path = store.blob_path(image.config_digest());
        let bytes = crate::file::read_small(&path, crate::import::DOCUMENT_LIMIT)?;
        let document = serde_json::from_slice(&bytes).map_err(StepError::Configuration)?;
        let record = image.record();
        let diff_ids = image.config().rootfs().diff_ids().iter();
        let layers: Vec<_> = record
            .blobs
            .iter()
            .zip(&record.chain)
            .zip(diff_ids)
            .filter_map(|((blob, chain), diff_id)| {
                // Checked when it was imported.
                let diff_id = diff_id.parse().ok()?;
                Some(BuiltLayer { blob: *blob, diff_id, chain: *chain })
            })
            .collect();
        let dirs = image.layer_dirs().to_vec();
        let mut document = Document::of(document);
        document.pad_history(layers.len());
        Ok(Self { document, layers, dirs, ..Self::scratch(escape) })
    }

    /// The stage that goes on from this one.
    pub fn next(&self) -> Self {
        Self { args: BTreeMap::new(), has_cmd: false, ..self.clone() }
    }

    /// What its files are.
    pub fn chain(&self) -> Option<Digest> {
        self.layers.last().map(|layer| layer.chain)
    }

    /// Its files; `None` when it has none.
    pub fn files(&self) -> Result<Option<Rc<MergedView>>, StepError> {
        if let Some(view) = self.view.get() {
            return Ok(view.clone());
        }
        let view = match &self.dirs[..] {
            [] => None,
            dirs => Some(Rc::new(MergedView::open(dirs).map_err(StepError::Files)?)),
        };
        Ok(self.view.get_or_init(|| view).clone())
    }

    /// Its users and groups.
    pub fn accounts(&self) -> Result<Accounts, StepError> {
        match self.files()? {
            Some(files) => Accounts::read(&files).map_err(StepError::Files),
            None => Ok(Accounts::default()),
        }
    }

    /// Puts a layer on top.
    pub fn push(&mut self, layer: BuiltLayer, store: &Store) {
        self.dirs.insert(0, store.layer_path(layer.chain));
        self.layers.push(layer);
        self.view = OnceCell::new();
    }

    /// The value of a variable: the environment's goes before an argument's.
    pub fn lookup(&self, name: &str) -> Option<String> {
        self.document.var(name).or_else(|| self.args.get(name).cloned())
    }

    /// Replaces the variables in a word.
    pub fn expand(&self, word: &str) -> Result<String, StepError> {
        Ok(expand(word, self.escape, &|name| self.lookup(name))?)
    }

    /// The working directory.
    pub fn working_dir(&self) -> String {
        self.document.text("WorkingDir").unwrap_or("/").to_owned()
    }

    /// Writes a layer into the store that goes on top of the others.
    pub fn write_layer(
        &self,
        entries: &Entries,
        latest: Option<i64>,
        store: &Store,
    ) -> Result<BuiltLayer, StepError> {
        let mut transaction = Transaction::begin(store)?;
        let mut diff_id = None;
        let (blob, _) = transaction.stage_written(|to| {
            let level = flate2::Compression::new(LEVEL);
            let mut plain =
                crate::digest::Hashed::new(flate2::write::GzEncoder::new(to, level));
            let failed = |path: &[u8]| {
                let path = lossy(path);
                |source| StepError::Write { path, source }
            };
            archive::write(entries, latest, &mut plain)
                .map_err(|(path, e)| failed(&path)(e))?;
            let (digest, gzip) = plain.finish();
            diff_id = Some(digest);
            gzip.finish().map_err(failed(b""))?;
            Ok::<_, StepError>(())
        })?;
        let diff_id = diff_id.unwrap_or(blob);
        let chain = Digest::chain(self.chain(), diff_id);
        if let LayerSlot::Empty(dir) = transaction.layer(chain)? {
            // It is ours, so that it has come out of something as large.
            let limits = UnpackLimits {
                max_bytes: u64::MAX,
                max_entries: u64::MAX,
                max_ratio: u64::MAX,
                ratio_from_bytes: u64::MAX,
            };
            let unpack =
                Unpack { target: &dir, below: &self.dirs, diff_id: Some(diff_id), limits };
            let path = transaction.blob_path(blob);
            let file = File::open(&path).map_err(FileError::on("open", &path))?;
            unpack.run(file, &NoProgress)?;
            transaction.layer_done(chain);
        }
        transaction.publish_all()?;
        Ok(BuiltLayer { blob, diff_id, chain })
    }
}
