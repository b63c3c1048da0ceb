//! Builds again when a migration is added; the macro that compiles them in sees only those it knows.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
