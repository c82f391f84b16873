//! The control: work that needs nothing of the kernel and should cost the same
//! behind every wall.

use std::hint::black_box;
use std::io;

use super::Operation;
use crate::sha256::Sha256;

struct Hash(Vec<u8>);

impl Operation for Hash {
    fn run(&mut self, rounds: u64) -> io::Result<()> {
        for _ in 0..rounds {
            let mut state = Sha256::new();
            state.update(black_box(&self.0));
            black_box(state.finish());
        }
        Ok(())
    }
}

pub fn hash() -> io::Result<Box<dyn Operation>> {
    Ok(Box::new(Hash(vec![0x5A; 4096])))
}

const SIDE: usize = 32;
type Square = [[f64; SIDE]; SIDE];

struct Matrix {
    left: Square,
    right: Square,
}

impl Operation for Matrix {
    fn run(&mut self, rounds: u64) -> io::Result<()> {
        for _ in 0..rounds {
            black_box(multiply(black_box(&self.left), black_box(&self.right)));
        }
        Ok(())
    }
}

fn multiply(left: &Square, right: &Square) -> Square {
    let mut product = [[0.0; SIDE]; SIDE];
    for (row, out) in left.iter().zip(&mut product) {
        for (factor, line) in row.iter().zip(right) {
            for (cell, value) in out.iter_mut().zip(line) {
                *cell += factor * value;
            }
        }
    }
    product
}

pub fn matrix() -> io::Result<Box<dyn Operation>> {
    Ok(Box::new(Matrix { left: [[1.5; SIDE]; SIDE], right: [[0.25; SIDE]; SIDE] }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplies_as_the_definition_says() {
        let mut left = [[0.0; SIDE]; SIDE];
        let mut right = [[0.0; SIDE]; SIDE];
        (left[0][0], left[0][1], left[1][1]) = (1.0, 2.0, 4.0);
        (right[0][0], right[1][0], right[1][1]) = (3.0, 5.0, 7.0);
        let product = multiply(&left, &right);
        assert_eq!((product[0][0], product[0][1]), (13.0, 14.0));
        assert_eq!((product[1][0], product[1][1]), (20.0, 28.0));
    }
}
