//! Random numbers of a worker, from a seed, so that a test can replay them. Not for secrets.

use std::hash::{BuildHasher, Hasher, RandomState};

/// xoshiro256++ (Blackman and Vigna, public domain).
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Default for Random {
    fn default() -> Self {
        Random::from_system()
    }
}

impl Random {
    /// A generator that repeats itself for the same seed.
    pub fn from_seed(seed: u64) -> Self {
        let mut mix = seed;
        let mut next = || {
            mix = mix.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (mix ^ (mix >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        Random { state: [next(), next(), next(), next()] }
    }

    /// A generator whose state comes from the system's randomness, as hash maps get theirs.
    pub fn from_system() -> Self {
        let mut random = Random { state: [(); 4].map(|()| RandomState::new().build_hasher().finish()) };
        // The state must not be all zero, and is mixed before it is used.
        random.state[0] |= 1;
        for _ in 0..8 {
            random.next_u64();
        }
        random
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_reference() {
        // First outputs of the authors' C code for the state 1, 2, 3, 4.
        let mut random = Random { state: [1, 2, 3, 4] };
        assert_eq!(
            [random.next_u64(), random.next_u64(), random.next_u64()],
            [41_943_041, 58_720_359, 3_588_806_011_781_223]
        );
    }

    #[test]
    fn a_seed_repeats_and_the_system_does_not() {
        assert_eq!(Random::from_seed(7).next_u64(), Random::from_seed(7).next_u64());
        assert_ne!(Random::from_system().next_u64(), Random::from_system().next_u64());
    }
}
