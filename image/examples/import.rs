//! Imports an image into a store and says where its root filesystem is.
//!
//! `cargo run -p bulkhead-image --example import -- STORE IMAGE`

use std::error::Error;
use std::path::PathBuf;

use bulkhead_image::{ImportOptions, NoProgress, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(store), Some(file)) = (args.next(), args.next()) else {
        return Err("usage: import STORE IMAGE".into());
    };
    let store = Store::open(store);
    for imported in store.import(&file, &ImportOptions::default(), &NoProgress)? {
        for name in &imported.names {
            println!("{name} {}", imported.image.digest());
        }
        println!("{:#?}", imported.image.layers());
    }
    Ok(())
}
