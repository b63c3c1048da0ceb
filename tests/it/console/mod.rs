//! The console: its files, its sessions, and its stream of events.

mod files;
mod live;
mod sessions;
