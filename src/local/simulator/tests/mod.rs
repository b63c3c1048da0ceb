//! Tests of the simulated Chat over real HTTP.

mod access;
mod callbacks;
mod calls;
mod control;
mod faults;
mod harness;
mod lists;
mod marks;
mod presence;
