//! Runs the scheduler's own code in virtual time, beside simpler rules, and says what differs.
//!
//! A [`world`] is who watches from where, which edges there are, and what they cost; it is read
//! from files or made by a seed. [`run`] lets one of the [`policies`] decide slot by slot and
//! counts what comes of it. The same world and policy give the same figures on any machine.
//! Plans are the production scheduler's: nothing of it is written again here.

pub mod table;
pub mod dice;
pub mod network;
pub mod world;
pub mod forecast;
pub mod run;
pub mod event;
pub mod relay;
pub mod policies;
pub mod report;
pub mod study;
pub mod tune;
pub mod warm;
pub mod check;
