//! The `stickymark` program.

fn main() {}
