//! The `davit` program; everything is in the library.
fn main() {}
