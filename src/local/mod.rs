//! What a trial needs and production does without: a private PostgreSQL, a simulated Chat, and the
//! demo that shows the product with both.

pub mod demo;
pub mod postgres;
pub mod simulator;
