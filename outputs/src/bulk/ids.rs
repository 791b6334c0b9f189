//! Ids made of a document's content, as Fluent Bit makes them, so that either program knows the other's documents.
//!
//! Owns: the hashes and how they are spelled. Never: sees a record.

/// Appends the id of `es`: MurmurHash3 (x64, 128 bits, seed 42).
pub(super) fn write_murmur(out: &mut Vec<u8>, content: &[u8]) {
    let (first, second) = murmur3(content, 42);
    let halves = [first, second].map(u64::to_le_bytes);
    let pairs = halves.as_flattened().chunks_exact(2);
    for (at, pair) in pairs.enumerate() {
        if matches!(at, 2..=5) {
            out.push(b'-');
        }
        if let [low, high] = pair {
            hex(out, *high, LOWER);
            hex(out, *low, LOWER);
        }
    }
}

/// Appends the id of `opensearch`: XXH3, 128 bits.
pub(super) fn write_xxh3(out: &mut Vec<u8>, content: &[u8]) {
    for (at, byte) in xxhash_rust::xxh3::xxh3_128(content).to_le_bytes().into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        hex(out, byte, UPPER);
    }
}

const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

fn hex(out: &mut Vec<u8>, byte: u8, digits: &[u8; 16]) {
    out.extend([digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
}

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// MurmurHash3_x64_128 by Austin Appleby, who placed it in the public domain.
fn murmur3(content: &[u8], seed: u64) -> (u64, u64) {
    let (mut h1, mut h2) = (seed, seed);
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    let mix1 = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let mut blocks = content.chunks_exact(16);
    for block in &mut blocks {
        let (first, second) = block.split_at(8);
        h1 ^= mix1(word(first));
        h1 = h1.rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= mix2(word(second));
        h2 = h2.rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let rest = blocks.remainder();
    let (first, second) = rest.split_at(rest.len().min(8));
    h2 ^= mix2(word(second));
    h1 ^= mix1(word(first));
    let length = content.len() as u64;
    (h1, h2) = (h1 ^ length, h2 ^ length);
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    (h1, h2) = (finish(h1), finish(h2));
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    (h1, h2)
}

fn finish(mut k: u64) -> u64 {
    k = (k ^ k >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    k = (k ^ k >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    k ^ k >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur3_is_the_published_one() {
        // The published verification value of MurmurHash3_x64_128: the hash of the hashes of 0, 01, 012, …
        let hashes: Vec<u8> = (0..256usize)
            .flat_map(|length| {
                let key: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
                let (a, b) = murmur3(&key, 256 - length as u64);
                [a.to_le_bytes(), b.to_le_bytes()].concat()
            })
            .collect();
        let (first, _) = murmur3(&hashes, 0);
        assert_eq!(first as u32, 0x6384_BA69);
    }

    #[test]
    fn xxh3_is_spelled_as_in_fluent_bit() {
        let mut out = Vec::new();
        write_xxh3(&mut out, b"");
        assert_eq!(out, b"7F498D46-24C3-0160-D898-4701D306AA99");
    }
}
