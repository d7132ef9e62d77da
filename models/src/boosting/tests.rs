//! What forests learn and refuse.

use super::*;

/// Rows of three columns: one that matters, one that does not, one that is mostly unknown.
fn world(count: usize) -> (Vec<f32>, Vec<f32>) {
    let mut state = 7_u64;
    let mut dice = move || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1_u64 << 24) as f32
    };
    let (mut values, mut targets) = (Vec::new(), Vec::new());
    for nth in 0..count {
        let (x, noise) = (dice(), dice());
        let rare = if nth % 10 == 0 { 1.0 } else { f32::NAN };
        values.extend([x, dice(), rare]);
        let step = if x > 0.6 { 2.0 } else { 0.0 };
        let extra = if rare.is_nan() { 0.0 } else { 3.0 };
        targets.push(step + extra + noise - 0.5);
    }
    (values, targets)
}

fn forest(quantile: f32, seed: u64) -> Forest {
    let (values, targets) = world(4000);
    let rows = Rows::new(&values, 3);
    let settings = Settings {
        column_share: 1.0,
        ..Settings::default()
    };
    train(
        &rows,
        &targets,
        &vec![1.0; targets.len()],
        quantile,
        (&settings, seed),
    )
}

#[test]
fn a_quantile_is_found_where_it_depends_on_columns() {
    let check = |quantile: f32, row: &[f32], expect: f32| {
        let found = forest(quantile, 1).predict(row);
        assert!(
            (found - expect).abs() < 0.12,
            "{quantile} {row:?}: {found}, not {expect}"
        );
    };
    check(0.5, &[0.2, 0.5, f32::NAN], 0.0);
    check(0.5, &[0.9, 0.5, f32::NAN], 2.0);
    check(0.5, &[0.9, 0.5, 1.0], 5.0);
    check(0.9, &[0.2, 0.5, f32::NAN], 0.4);
    check(0.1, &[0.9, 0.5, f32::NAN], 1.6);
}

#[test]
fn the_same_seed_grows_the_same_forest() {
    assert_eq!(forest(0.5, 3), forest(0.5, 3));
    assert_ne!(forest(0.5, 3), forest(0.5, 4));
}

#[test]
fn columns_that_matter_are_used_and_indices_are_sound() {
    let (values, targets) = world(4000);
    let settings = Settings {
        trees: 20,
        leaves: 4,
        column_share: 1.0,
        ..Settings::default()
    };
    let weights = vec![1.0; targets.len()];
    let forest = train(
        &Rows::new(&values, 3),
        &targets,
        &weights,
        0.5,
        (&settings, 1),
    );
    let uses = forest.uses(3);
    assert!(uses[0] > 2 * uses[1], "{uses:?}");
    assert!(forest.is_sound(3) && !forest.is_sound(1));
}

#[test]
fn few_or_equal_rows_make_a_constant() {
    let settings = Settings::default();
    let rows = Rows::new(&[1.0; 30], 3);
    let forest = train(&rows, &[2.0; 10], &[1.0; 10], 0.5, (&settings, 1));
    assert_eq!(forest.predict(&[1.0, 2.0, 3.0]), 2.0);
    let rows = Rows::new(&[f32::NAN; 300], 3);
    let forest = train(&rows, &[2.0; 100], &[1.0; 100], 0.5, (&settings, 1));
    assert_eq!(forest.predict(&[1.0, 2.0, 3.0]), 2.0);
    let forest = train(&Rows::new(&[], 3), &[], &[], 0.5, (&settings, 1));
    assert_eq!(forest.predict(&[1.0, 2.0, 3.0]), 0.0);
}
