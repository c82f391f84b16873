//! OCI layouts.

use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_image::Digest;
use serde_json::{Value, json};

/// A layout being made.
pub struct Layout {
    dir: PathBuf,
    manifests: Vec<Value>,
}

impl Layout {
    pub fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let layout = Self { dir: dir.to_owned(), manifests: Vec::new() };
        layout.write_index();
        layout
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }

    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    /// Writes a blob and gives its descriptor.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        fs::write(self.blob_path(digest), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    /// Writes an image: blobs of layers and what each decompresses to.
    pub fn image(&self, layers: &[(Vec<u8>, Vec<u8>)], platform: &str, config: Value) -> Value {
        let (os, architecture) = platform.split_once('/').unwrap();
        let diff_ids: Vec<_> = layers.iter().map(|(_, plain)| Digest::of(plain)).collect();
        let config = json!({
            "os": os, "architecture": architecture, "config": config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let layer = |(blob, _): &(Vec<u8>, Vec<u8>)| {
            self.blob("application/vnd.oci.image.layer.v1.tar", blob)
        };
        let manifest = json!({
            "schemaVersion": 2,
            "config": self.blob(
                "application/vnd.oci.image.config.v1+json",
                config.to_string().as_bytes(),
            ),
            "layers": layers.iter().map(layer).collect::<Vec<_>>(),
        });
        let mut descriptor = self.blob(
            "application/vnd.oci.image.manifest.v1+json",
            manifest.to_string().as_bytes(),
        );
        descriptor["platform"] = json!({ "os": os, "architecture": architecture });
        descriptor
    }

    /// Lists a manifest or index in `index.json`.
    pub fn list(&mut self, mut descriptor: Value, name: Option<&str>) {
        if let Some(name) = name {
            descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        }
        self.manifests.push(descriptor);
        self.write_index();
    }

    fn write_index(&self) {
        let index = json!({ "schemaVersion": 2, "manifests": self.manifests });
        fs::write(self.dir.join("index.json"), index.to_string()).unwrap();
    }
}

/// A layout with one image of uncompressed layers.
pub fn simple(dir: &Path, layers: &[Vec<u8>]) -> Layout {
    let mut layout = Layout::new(dir);
    let layers: Vec<_> = layers.iter().map(|layer| (layer.clone(), layer.clone())).collect();
    let image = layout.image(&layers, "linux/amd64", json!({ "Cmd": ["/bin/true"] }));
    layout.list(image, None);
    layout
}
