//! The disk's hot path: take a descriptor chain off the queue, check it, read
//! 64 KiB from the page cache into it, hand it back.

use std::error::Error;
use std::hint::black_box;
use std::io::Write;

use bulkhead_microvm::devices::virtio::block::Block;
use bulkhead_microvm::devices::virtio::disk::DiskImage;
use bulkhead_microvm::devices::virtio::{VirtQueue, VirtioDevice};
use bulkhead_microvm::kvm::{GuestRam, map_ram};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress};

const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const HEADER: u64 = 0x4000;
const STATUS: u64 = 0x4100;
const DATA: u64 = 0x10_0000;
/// Buffers of a request: 16 pages, as Linux reads ahead.
const PAGES: u16 = 16;
const PAGE: u32 = 4096;
/// Descriptor flags (virtio 1.2, section 2.7.5).
const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// A chain of header, pages and status in the descriptor table.
fn write_chain(ram: &GuestRam) -> Result<(), vm_memory::GuestMemoryError> {
    let put = |index: u16, address: u64, len: u32, flags: u16| {
        let at = GuestAddress(DESCRIPTORS + u64::from(index) * 16);
        ram.write_obj(address, at)?;
        ram.write_obj(len, GuestAddress(at.0 + 8))?;
        ram.write_obj(flags, GuestAddress(at.0 + 12))?;
        ram.write_obj(index + 1, GuestAddress(at.0 + 14))
    };
    put(0, HEADER, 16, NEXT)?;
    for page in 0..PAGES {
        put(page + 1, DATA + u64::from(page) * u64::from(PAGE), PAGE, NEXT | WRITE)?;
    }
    put(PAGES + 1, STATUS, 1, WRITE)
}

fn queue(size: u16) -> VirtQueue {
    let mut queue = VirtQueue::new(size);
    let settings = queue.settings();
    settings.set_desc_table_address(Some(0x1000), Some(0));
    settings.set_avail_ring_address(Some(0x2000), Some(0));
    settings.set_used_ring_address(Some(0x3000), Some(0));
    settings.set_ready(true);
    queue
}

fn prepare() -> Result<(Block, GuestRam, tempfile::NamedTempFile), Box<dyn Error>> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(&vec![7; usize::from(PAGES) * PAGE as usize])?;
    let block = Block::new(DiskImage::open(file.path())?, "bench");
    let ram = map_ram(2)?;
    write_chain(&ram)?;
    Ok((block, ram, file))
}

fn block_chain(criterion: &mut Criterion) {
    let (mut block, ram, _file) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => return eprintln!("left out: {error}"),
    };
    let mut queues = [queue(64)];
    let mut available = 0_u16;
    let mut group = criterion.benchmark_group("virtio_block");
    group.throughput(Throughput::Bytes(u64::from(PAGES) * u64::from(PAGE)));
    group.bench_function("read_64_kib_in_16_pages", |bencher| {
        bencher.iter(|| {
            available = available.wrapping_add(1);
            let published = ram.write_obj(available, GuestAddress(AVAILABLE + 2));
            black_box((published.is_ok(), block.kick(0, &mut queues, &ram)))
        });
    });
    group.finish();
    let status: u8 = ram.read_obj(GuestAddress(STATUS)).unwrap_or(u8::MAX);
    let used: u16 = ram.read_obj(GuestAddress(USED + 2)).unwrap_or_default();
    assert_eq!((status, used), (0, available), "every request was answered");
}

criterion_group!(benches, block_chain);
criterion_main!(benches);
