//! Chance without the operating system, in this binary only.
//!
//! A node takes its chance from its seed, but what it is built on does not: the standard library's hash maps, tokio's choice of which
//! branch to look at first, and others ask libc for entropy. libc's functions are replaced by a generator, so that a simulation is the
//! same each time. The production binary has nothing of this.
//!
//! Generator: SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).

#![expect(
    unsafe_code,
    reason = "a function of libc is replaced, which nothing but the linker's name for it can do"
)]

use std::ffi::{c_int, c_uint, c_void};
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

static STATE: AtomicU64 = AtomicU64::new(0);

/// What is drawn from now on follows from `seed`. Hash maps of threads that have drawn before keep what they have.
pub(crate) fn seed(seed: u64) {
    STATE.store(seed, Ordering::SeqCst);
}

fn next() -> u64 {
    const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = STATE.fetch_add(GAMMA, Ordering::SeqCst).wrapping_add(GAMMA);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn fill(bytes: &mut [u8]) {
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&next().to_le_bytes()[..chunk.len()]);
    }
}

/// In the place of `getrandom(2)` of libc.
///
/// # Safety
/// As there: `length` bytes at `buffer` may be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _: c_uint) -> isize {
    if length > 0 {
        // SAFETY: the caller's promise.
        fill(unsafe { slice::from_raw_parts_mut(buffer.cast(), length) });
    }
    isize::try_from(length).unwrap_or(-1)
}

/// In the place of `getentropy(3)` of libc.
///
/// # Safety
/// As there: `length` bytes at `buffer` may be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn getentropy(buffer: *mut c_void, length: usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { getrandom(buffer, length, 0) };
    0
}
