//! Load forecasting: series, features, experts, their mixture, honest upper quantiles, training and evaluation.
//!
//! Nothing here opens a file or a socket, or reads a clock; `exp`, `ln` and `pow` come from `libm` and sums have a fixed
//! order, so the same samples give the same forecasts on any machine. It never hears of a node, only of series.

pub mod series;
pub mod calendar;
pub mod history;
pub mod features;
pub mod naive;
pub mod holt;
pub mod rls;
pub mod linear;
pub mod boosting;
pub mod mix;
pub mod conformal;
pub mod drift;
pub mod surge;
pub mod cold;
pub mod train;
pub mod forecast;
pub mod evaluate;
pub mod artifact;
pub mod pool;
