//! A heap for one thread in one block of memory.
//!
//! Blocks are powers of two; freed ones are kept in a list per size. Nothing is
//! ever given back, and only pages that are used are touched: the agent's
//! buffers are few and of the same sizes again and again.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{self, null_mut};

/// Thirty-two processes at a time use a quarter MiB each at most.
const ARENA_SIZE: usize = 8 * 1024 * 1024;

/// Smallest block: room for the link of the free list.
const SMALLEST: usize = 16;

/// Sizes of blocks: `SMALLEST << class`.
const CLASSES: usize = 21;

#[repr(align(4096))]
struct Arena(UnsafeCell<[u8; ARENA_SIZE]>);

// SAFETY: the program has one thread, and a child that shares its memory runs
// only while that sleeps.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(UnsafeCell::new([0; ARENA_SIZE]));

struct State {
    used: usize,
    free: [*mut u8; CLASSES],
}

/// The allocator; see the module documentation.
pub struct Heap(UnsafeCell<State>);

// SAFETY: as for `Arena`.
unsafe impl Sync for Heap {}

impl Heap {
    /// An empty heap.
    pub const fn new() -> Self {
        Self(UnsafeCell::new(State { used: 0, free: [null_mut(); CLASSES] }))
    }
}

/// The class of blocks that hold `layout`; blocks are aligned to their size up to a page.
fn class(layout: Layout) -> usize {
    let size = layout.size().max(layout.align()).max(SMALLEST).next_power_of_two();
    (size / SMALLEST).trailing_zeros() as usize
}

// SAFETY: blocks come from disjoint parts of the arena or from a list of blocks
// of the same size that nobody uses.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread, and no reference outlives this call.
        let state = unsafe { &mut *self.0.get() };
        let class = class(layout);
        let Some(free) = state.free.get_mut(class) else { return null_mut() };
        if !free.is_null() {
            let block = *free;
            // SAFETY: a free block begins with the address of the next.
            *free = unsafe { ptr::read(block.cast()) };
            return block;
        }
        let size = SMALLEST << class;
        let start = state.used.next_multiple_of(size.min(4096));
        if start + size > ARENA_SIZE {
            return null_mut();
        }
        state.used = start + size;
        // SAFETY: inside the arena.
        unsafe { ARENA.0.get().cast::<u8>().add(start) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: one thread, and no reference outlives this call.
        let state = unsafe { &mut *self.0.get() };
        if let Some(free) = state.free.get_mut(class(layout)) {
            // SAFETY: the block is at least as large and as aligned as a pointer.
            unsafe { ptr::write(block.cast(), *free) };
            *free = block;
        }
    }
}
