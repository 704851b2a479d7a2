//! sandtest.
fn main() {}
