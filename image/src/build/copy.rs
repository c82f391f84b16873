//! What `COPY` and `ADD` put into a layer.

use std::io;
use std::rc::Rc;

use super::archive::{Content, Entries, Entry};
use super::files::{Kind, Meta, Tree, clean, join, split};
use super::glob::{Glob, GlobError};
use crate::Digest;
use crate::digest::Hasher;
use crate::merged::{MergedView, Node};
use crate::tarball::lossy;

/// Something that cannot be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is no such file.
    #[error("`{0}` is not there{hint}", hint = if *.1 { ": .dockerignore leaves it out" } else { "" })]
    Missing(String, bool),
    /// Several files cannot have one name.
    #[error("several files are copied to `{0}`, which is no directory: end it with a `/`")]
    NotDirectory(String),
    /// A file where a directory is, or the other way round.
    #[error("`{path}` cannot be put in the place of a {what}")]
    InTheWay {
        /// Where it was to go.
        path: String,
        /// What is there.
        what: &'static str,
    },
    /// A name that would be taken for the mark of something that is deleted.
    #[error("`{0}` cannot be in an image: names that begin with `.wh.` mark deletions")]
    Reserved(String),
    /// A pattern that is none.
    #[error(transparent)]
    Glob(#[from] GlobError),
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// Which.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

pub(super) fn read_error(path: &[u8]) -> impl FnOnce(io::Error) -> CopyError {
    let path = lossy(path);
    move |source| CopyError::Read { path, source }
}

/// A layer being filled with copies.
#[derive(Debug)]
pub(super) struct Copier<'a> {
    /// What is in the image so far.
    pub below: Option<&'a MergedView>,
    /// Who owns what is copied, if that is not left as it is.
    pub owner: Option<(u32, u32)>,
    /// Its permissions, likewise.
    pub mode: Option<u32>,
    /// The time of what comes from nowhere.
    pub now: i64,
    pub entries: Entries,
}

/// Where copies go.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Clean, from the root of the image.
    path: Vec<u8>,
    written: String,
    /// It is written as a directory.
    slash: bool,
}

impl Target {
    /// A target as written, in the working directory.
    pub fn new(written: &str, working_dir: &str) -> Self {
        let absolute = if written.starts_with('/') {
            written.to_owned()
        } else {
            format!("{working_dir}/{written}")
        };
        let slash = written.is_empty()
            || ["/", "/.", "/.."].iter().any(|end| written.ends_with(end))
            || matches!(written, "." | "..");
        Self { path: clean(absolute.as_bytes()), written: written.to_owned(), slash }
    }

    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Whether it is written as a directory.
    pub fn is_directory(&self) -> bool {
        self.slash
    }
}

impl Copier<'_> {
    /// Copies what a pattern matches in `tree`; `several` says that there are others.
    pub fn copy(
        &mut self,
        tree: &Rc<dyn Tree>,
        pattern: &str,
        target: &Target,
        several: bool,
    ) -> Result<(), CopyError> {
        let sources = matching(&**tree, pattern)?;
        let several = several || sources.len() > 1;
        for source in sources {
            self.copy_one(tree, &source, target, several)?;
        }
        Ok(())
    }

    /// Copies what is at a path.
    pub fn copy_one(
        &mut self,
        tree: &Rc<dyn Tree>,
        source: &[u8],
        target: &Target,
        several: bool,
    ) -> Result<(), CopyError> {
        let meta = tree.meta(source, true).map_err(read_error(source))?;
        let Some(meta) = meta else { return Err(CopyError::Missing(lossy(source), false)) };
        if meta.is_directory() {
            return self.directory(tree, source, &meta, target);
        }
        let (_, name) = split(source);
        let path = self.file_target(target, name, several)?;
        self.file(tree, source, meta, &path)
    }

    /// Puts a file with this content there.
    pub fn put(
        &mut self,
        name: &[u8],
        meta: Meta,
        content: Content,
        target: &Target,
        several: bool,
    ) -> Result<(), CopyError> {
        let path = self.file_target(target, name, several)?;
        self.insert(&path, meta, content)
    }

    /// Puts entries there that are named from the target on.
    pub fn put_all(&mut self, found: Entries, target: &Target) -> Result<(), CopyError> {
        let root = self.real(&target.path)?;
        self.make_directory(&root)?;
        for (path, entry) in found {
            let path = self.real(&join(&root, &path))?;
            let content = match entry.content {
                Content::Link(to) => Content::Link(self.real(&join(&root, &to))?),
                other => other,
            };
            if entry.meta.is_directory() {
                self.enter(&path, entry.meta, true)?;
            } else {
                self.insert(&path, entry.meta, content)?;
            }
        }
        Ok(())
    }

    /// Makes a directory, and those it is in, unless they are there.
    pub fn make_directory(&mut self, path: &[u8]) -> Result<(), CopyError> {
        let path = self.real(path)?;
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            let prefix = &path[..end];
            if prefix.is_empty() || self.is_directory(prefix)? {
                continue;
            }
            if self.exists(prefix)? {
                return Err(CopyError::InTheWay { path: lossy(&path), what: "file" });
            }
            let mut meta = Meta::directory(self.now);
            (meta.uid, meta.gid) = self.owner.unwrap_or_default();
            self.entries.insert(prefix.to_vec(), Entry::empty(meta));
        }
        Ok(())
    }

    fn file_target(
        &self,
        target: &Target,
        name: &[u8],
        several: bool,
    ) -> Result<Vec<u8>, CopyError> {
        let is_directory = target.slash || self.is_directory(&self.real(&target.path)?)?;
        match (is_directory, several) {
            (true, _) => Ok(join(&target.path, name)),
            (false, false) => Ok(target.path.clone()),
            (false, true) => Err(CopyError::NotDirectory(target.written.clone())),
        }
    }

    /// Copies what is in a directory.
    fn directory(
        &mut self,
        tree: &Rc<dyn Tree>,
        source: &[u8],
        meta: &Meta,
        target: &Target,
    ) -> Result<(), CopyError> {
        let path = self.real(&target.path)?;
        let (parent, _) = split(&path);
        self.make_directory(parent)?;
        if !path.is_empty() {
            self.enter(&path, self.changed(&**tree, meta.clone()), false)?;
        }
        self.inside(tree, source, &path)
    }

    fn inside(
        &mut self,
        tree: &Rc<dyn Tree>,
        source: &[u8],
        target: &[u8],
    ) -> Result<(), CopyError> {
        for name in tree.names(source).map_err(read_error(source))? {
            let inner = join(source, &name);
            let ignored = tree.is_ignored(&inner);
            if ignored && tree.skips_ignored() {
                continue;
            }
            let meta = tree.meta(&inner, false).map_err(read_error(&inner))?;
            let Some(meta) = meta else { continue };
            let path = join(target, &name);
            if !meta.is_directory() {
                if !ignored {
                    self.file(tree, &inner, meta, &path)?;
                }
                continue;
            }
            let path = self.real(&path)?;
            if !ignored || self.finds_exception(&**tree, &inner)? {
                self.enter(&path, self.changed(&**tree, meta), true)?;
                self.inside(tree, &inner, &path)?;
            }
        }
        Ok(())
    }

    /// Whether something in an ignored directory is not ignored.
    fn finds_exception(&self, tree: &dyn Tree, path: &[u8]) -> Result<bool, CopyError> {
        for name in tree.names(path).map_err(read_error(path))? {
            let inner = join(path, &name);
            if !tree.is_ignored(&inner) {
                return Ok(true);
            }
            let meta = tree.meta(&inner, false).map_err(read_error(&inner))?;
            if meta.is_some_and(|meta| meta.is_directory())
                && self.finds_exception(tree, &inner)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn file(
        &mut self,
        tree: &Rc<dyn Tree>,
        source: &[u8],
        meta: Meta,
        path: &[u8],
    ) -> Result<(), CopyError> {
        let meta = self.changed(&**tree, meta);
        let content = match meta.kind {
            Kind::File => Content::Tree(Rc::clone(tree), source.to_vec()),
            _ => Content::None,
        };
        self.insert(path, meta, content)
    }

    /// What a copy is like.
    fn changed(&self, tree: &dyn Tree, mut meta: Meta) -> Meta {
        if !tree.keeps_owners() {
            (meta.uid, meta.gid) = (0, 0);
        }
        self.overridden(meta)
    }

    fn overridden(&self, mut meta: Meta) -> Meta {
        (meta.uid, meta.gid) = self.owner.unwrap_or((meta.uid, meta.gid));
        if !matches!(meta.kind, Kind::Symlink(_)) {
            meta.mode = self.mode.unwrap_or(meta.mode);
        }
        meta
    }

    /// Makes a directory, or takes over one that is there.
    fn enter(&mut self, path: &[u8], meta: Meta, overwrite: bool) -> Result<(), CopyError> {
        let (parent, name) = split(path);
        reserved(name)?;
        self.make_directory(parent)?;
        if self.is_directory(path)? {
            if !overwrite {
                return Ok(());
            }
        } else if self.exists(path)? {
            return Err(CopyError::InTheWay { path: lossy(path), what: "file" });
        }
        self.entries.insert(path.to_vec(), Entry::empty(self.overridden(meta)));
        Ok(())
    }

    fn insert(&mut self, path: &[u8], meta: Meta, content: Content) -> Result<(), CopyError> {
        let (parent, name) = split(path);
        reserved(name)?;
        self.make_directory(parent)?;
        let path = join(&self.real(parent)?, name);
        if name.is_empty() || self.is_own_directory(&path)? {
            return Err(CopyError::InTheWay { path: lossy(&path), what: "directory" });
        }
        self.entries.insert(path, Entry { meta: self.overridden(meta), content });
        Ok(())
    }

    /// Where a path really is in the image.
    fn real(&self, path: &[u8]) -> Result<Vec<u8>, CopyError> {
        match self.below {
            Some(below) => below.real_path(path).map_err(read_error(path)),
            None => Ok(clean(path)),
        }
    }

    fn is_directory(&self, path: &[u8]) -> Result<bool, CopyError> {
        if let Some(entry) = self.entries.get(path) {
            return Ok(entry.meta.is_directory());
        }
        Ok(matches!(self.found(path, true)?, Some(Node::Directory(_))) || path.is_empty())
    }

    /// The same without following a symlink.
    fn is_own_directory(&self, path: &[u8]) -> Result<bool, CopyError> {
        if let Some(entry) = self.entries.get(path) {
            return Ok(entry.meta.is_directory());
        }
        Ok(matches!(self.found(path, false)?, Some(Node::Directory(_))))
    }

    fn exists(&self, path: &[u8]) -> Result<bool, CopyError> {
        Ok(self.entries.contains_key(path) || self.found(path, false)?.is_some())
    }

    fn found(&self, path: &[u8], follow: bool) -> Result<Option<Node>, CopyError> {
        match self.below {
            Some(below) => below.node(path, follow).map_err(read_error(path)),
            None => Ok(None),
        }
    }
}

fn reserved(name: &[u8]) -> Result<(), CopyError> {
    match name.starts_with(super::archive::WHITEOUT) {
        true => Err(CopyError::Reserved(lossy(name))),
        false => Ok(()),
    }
}

/// The paths in a tree that a pattern matches, sorted; never none.
pub(super) fn matching(tree: &dyn Tree, pattern: &str) -> Result<Vec<Vec<u8>>, CopyError> {
    let cleaned = clean(pattern.as_bytes());
    let text = lossy(&cleaned);
    let missing = |ignored| CopyError::Missing(pattern.to_owned(), ignored);
    let mut found = vec![Vec::new()];
    for component in text.split('/').filter(|component| !component.is_empty()) {
        let glob = Glob::parse(component)?;
        let mut next = Vec::new();
        for parent in found {
            if glob.is_literal() {
                next.push(join(&parent, unescaped(component).as_bytes()));
                continue;
            }
            let is_directory = tree
                .meta(&parent, true)
                .map_err(read_error(&parent))?
                .is_some_and(|meta| meta.is_directory());
            if !is_directory {
                continue;
            }
            for name in tree.names(&parent).map_err(read_error(&parent))? {
                if glob.matches(&lossy(&name)) {
                    next.push(join(&parent, &name));
                }
            }
        }
        found = next;
    }
    let mut there = Vec::new();
    let mut ignored = false;
    for path in found {
        let meta = tree.meta(&path, true).map_err(read_error(&path))?;
        let Some(meta) = meta else { continue };
        // An exception may be in an ignored directory.
        let out = tree.is_ignored(&path) && (tree.skips_ignored() || !meta.is_directory());
        ignored |= out;
        if !out {
            there.push(path);
        }
    }
    if there.is_empty() { Err(missing(ignored)) } else { Ok(there) }
}

/// A pattern's literal component without its escapes.
fn unescaped(component: &str) -> String {
    let mut out = String::new();
    let mut chars = component.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

/// What entries are, but for their times.
pub(super) fn fingerprint(entries: &Entries) -> Result<Digest, CopyError> {
    let mut all = Hasher::default();
    let mut add = |text: &[u8]| {
        all.update(&(text.len() as u64).to_le_bytes());
        all.update(text);
    };
    for (path, Entry { meta, content }) in entries {
        add(path);
        add(format!("{:?} {:o} {} {} {}", meta.kind, meta.mode, meta.uid, meta.gid, meta.size)
            .as_bytes());
        for (name, value) in &meta.xattrs {
            add(name);
            add(value);
        }
        match content {
            Content::Link(target) => add(target),
            Content::None => add(b"-"),
            content => {
                let mut hasher = Hashing::default();
                content.copy_to(meta.size, &mut hasher).map_err(read_error(path))?;
                add(hasher.0.finish().to_string().as_bytes());
            }
        }
    }
    Ok(all.finish())
}

#[derive(Default)]
struct Hashing(Hasher);

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
