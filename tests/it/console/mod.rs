//! The console: its files, its sessions, and what it is told of what happens.

mod files;
mod live;
mod sessions;
