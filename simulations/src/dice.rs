//! Sans-IO: random numbers by a seed, the same on any machine.
//!
//! Each purpose has dice of its own, so that a change in one part of a world leaves the others as
//! they were.

/// A generator: splitmix64, whose every output follows from its seed and how often it was asked.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// For a purpose in the world of a seed.
    pub fn new(seed: u64, purpose: &str) -> Self {
        // FNV-1a of 64 bits.
        let hash = purpose
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let mut dice = Self(hash ^ seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        dice.bits();
        dice
    }

    /// 64 bits, each as likely set as not.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below 1.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Between two numbers.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// An index below `count`; 0 of none.
    pub fn index(&mut self, count: usize) -> usize {
        ((self.uniform() * count as f64) as usize).min(count.saturating_sub(1))
    }

    /// True so often.
    pub fn chance(&mut self, share: f64) -> bool {
        self.uniform() < share
    }

    /// An index in proportion to the weights.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.uniform() * weights.iter().sum::<f64>();
        let found = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        found.unwrap_or(weights.len().saturating_sub(1))
    }

    /// Of mean 0 and deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let (radius, turn) = (1.0 - self.uniform(), self.uniform());
        let radius = libm::sqrt(-2.0 * libm::log(radius));
        radius * libm::cos(2.0 * std::f64::consts::PI * turn)
    }

    /// Around 1: the exponential of a normal number with that deviation.
    pub fn about_one(&mut self, deviation: f64) -> f64 {
        libm::exp(deviation * self.normal())
    }

    /// Of that shape and scale 1 (Marsaglia and Tsang).
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let up = self.gamma(shape + 1.0);
            return up * libm::pow(1.0 - self.uniform(), 1.0 / shape.max(LEAST_SHAPE));
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / libm::sqrt(9.0 * d);
        // Each round is accepted in more than 95 of 100 cases.
        for _ in 0..ROUNDS {
            let x = self.normal();
            let v = (1.0 + c * x) * (1.0 + c * x) * (1.0 + c * x);
            let u = 1.0 - self.uniform();
            if v > 0.0 && libm::log(u) < 0.5 * x * x + d - d * v + d * libm::log(v) {
                return d * v;
            }
        }
        d
    }

    /// Parts of a whole, alike in the mean, the more so the larger `shape` is (Dirichlet).
    pub fn parts(&mut self, count: usize, shape: f64) -> Vec<f64> {
        let drawn: Vec<f64> = (0..count).map(|_| self.gamma(shape)).collect();
        let sum: f64 = drawn.iter().sum();
        drawn.into_iter().map(|part| part / sum).collect()
    }

    /// Events of a process with that mean, by whether the next uniform is below it, a whole part
    /// for sure.
    pub fn count(&mut self, mean: f64) -> usize {
        mean as usize + usize::from(self.chance(mean - libm::floor(mean)))
    }
}

const LEAST_SHAPE: f64 = 1e-3;
const ROUNDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_moments_of_their_distributions() {
        type Draw = fn(&mut Dice) -> f64;
        let draws: [(Draw, f64, f64); 5] = [
            (Dice::uniform, 0.5, 1.0 / 12.0),
            (Dice::normal, 0.0, 1.0),
            (|dice| dice.gamma(1.2), 1.2, 1.2),
            (|dice| dice.gamma(0.5), 0.5, 0.5),
            (|dice| dice.count(2.3) as f64, 2.3, 0.21),
        ];
        for (nth, (draw, mean, variance)) in draws.into_iter().enumerate() {
            let mut dice = Dice::new(7, "test");
            let drawn: Vec<f64> = (0..40_000).map(|_| draw(&mut dice)).collect();
            let found = drawn.iter().sum::<f64>() / drawn.len() as f64;
            let squares = drawn.iter().map(|it| (it - found) * (it - found));
            let spread = squares.sum::<f64>() / drawn.len() as f64;
            assert!((found - mean).abs() < 0.03, "{nth}: mean {found}");
            assert!((spread - variance).abs() < 0.05, "{nth}: variance {spread}");
        }
        let parts = Dice::new(1, "parts").parts(4, 6.0);
        assert!((parts.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn purposes_and_seeds_have_numbers_of_their_own() {
        let first = |seed, purpose| Dice::new(seed, purpose).uniform().to_bits();
        assert_eq!(first(1, "a"), first(1, "a"));
        assert_ne!(first(1, "a"), first(1, "b"));
        assert_ne!(first(1, "a"), first(2, "a"));
    }
}
