//! Sans-IO: Hot: the sums of parity: a Cauchy code over GF(256).
//!
//! Any `k` parity rows determine any `k` data rows, since every square part of a Cauchy matrix can
//! be inverted (J. Blömer et al., "An XOR-Based Erasure-Resilient Coding Scheme", 1995). Columns are
//! scaled so that the first parity row is the plain XOR of all rows: one lost packet, the common
//! case, costs no multiplication.

use super::MAX_ROWS;

/// x^8 + x^4 + x^3 + x^2 + 1, of which x is a generator.
const POLYNOMIAL: u16 = 0x11d;

/// Powers of the generator, twice, so that a sum of two logarithms needs no reduction.
const EXP: [u8; 512] = {
    let mut exp = [0; 512];
    let mut value = 1;
    let mut power = 0;
    while power < 510 {
        exp[power] = value as u8;
        value <<= 1;
        if value & 0x100 != 0 {
            value ^= POLYNOMIAL;
        }
        power += 1;
    }
    exp
};

const LOG: [u8; 256] = {
    let mut log = [0; 256];
    let mut power = 0;
    while power < 255 {
        log[EXP[power] as usize] = power as u8;
        power += 1;
    }
    log
};

fn multiply(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    EXP[usize::from(LOG[usize::from(a)]) + usize::from(LOG[usize::from(b)])]
}

fn inverse(a: u8) -> u8 {
    debug_assert_ne!(a, 0, "zero has no inverse");
    EXP[255 - usize::from(LOG[usize::from(a)])]
}

/// What a data row counts for in a parity row.
pub(super) fn coefficient(parity: usize, row: usize) -> u8 {
    debug_assert!(row < MAX_ROWS && parity < 256 - MAX_ROWS);
    let point = |parity: usize| (MAX_ROWS + parity) as u8 ^ row as u8;
    multiply(point(0), inverse(point(parity)))
}

/// Adds `from`, `coefficient` times, to the front of `into`.
pub(super) fn add(into: &mut [u8], from: &[u8], coefficient: u8) {
    if coefficient == 1 {
        for (into, from) in into.iter_mut().zip(from) {
            *into ^= from;
        }
        return;
    }
    let products: [u8; 256] = std::array::from_fn(|byte| multiply(coefficient, byte as u8));
    for (into, from) in into.iter_mut().zip(from) {
        *into ^= products[usize::from(*from)];
    }
}

/// Turns the sums that parity `rows` make over `unknowns` into the unknown rows themselves.
pub(super) fn solve(rows: &[usize], unknowns: &[usize], sums: &mut [Vec<u8>]) {
    let mut matrix: Vec<Vec<u8>> = rows
        .iter()
        .map(|&parity| {
            unknowns
                .iter()
                .map(|&row| coefficient(parity, row))
                .collect()
        })
        .collect();
    for pivot in 0..unknowns.len() {
        // Not zero: the leading part of the matrix is itself one of those that can be inverted.
        let scale = inverse(matrix[pivot][pivot]);
        scale_row(&mut matrix[pivot], scale);
        scale_row(&mut sums[pivot], scale);
        let (line, sum) = (matrix[pivot].clone(), std::mem::take(&mut sums[pivot]));
        for other in (0..unknowns.len()).filter(|&other| other != pivot) {
            let factor = matrix[other][pivot];
            add(&mut matrix[other], &line, factor);
            add(&mut sums[other], &sum, factor);
        }
        sums[pivot] = sum;
    }
}

fn scale_row(row: &mut [u8], scale: u8) {
    row.iter_mut()
        .for_each(|byte| *byte = multiply(*byte, scale));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_field_is_a_field() {
        for a in 1..=255 {
            assert_eq!(multiply(a, inverse(a)), 1);
            assert_eq!(multiply(a, 1), a);
            for b in 1..=255 {
                assert_eq!(multiply(a, b), multiply(b, a));
                assert_eq!(multiply(multiply(a, b), inverse(b)), a);
            }
        }
    }

    #[test]
    fn the_first_parity_row_is_a_plain_sum() {
        assert!((0..MAX_ROWS).all(|row| coefficient(0, row) == 1));
    }

    proptest! {
        #[test]
        fn as_many_rows_as_parity_are_found_again(
            rows in prop::collection::vec(prop::collection::vec(any::<u8>(), 9), 1..MAX_ROWS),
            lost in prop::collection::btree_set(0..MAX_ROWS, 1..8),
            parity in prop::collection::btree_set(0..super::super::MAX_PARITY, 8),
        ) {
            let unknowns: Vec<usize> = lost.into_iter().filter(|row| *row < rows.len()).collect();
            let parity: Vec<usize> = parity.into_iter().take(unknowns.len()).collect();
            let mut sums = vec![vec![0; 9]; unknowns.len()];
            for (sum, parity) in sums.iter_mut().zip(&parity) {
                for &row in &unknowns {
                    add(sum, &rows[row], coefficient(*parity, row));
                }
            }
            solve(&parity, &unknowns, &mut sums);
            for (found, row) in sums.iter().zip(unknowns) {
                prop_assert_eq!(found, &rows[row]);
            }
        }
    }
}
