//! The agents' side, spoken by hand: every step of a call, right and wrong.

mod authority;
mod callbacks;
mod deadlines;
mod ending;
mod fencing;
