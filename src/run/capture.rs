//! x
#![allow(missing_docs)]
use crate::model::event::Captured;
pub struct Capture {
    head: Vec<u8>,
    total: u64,
}
impl Capture {
    pub fn new(_: std::path::PathBuf) -> Self {
        Self { head: vec![], total: 0 }
    }
    pub fn push(&mut self, b: &[u8]) {
        self.total += b.len() as u64;
        self.head.extend(b)
    }
    pub fn finish(self) -> Captured {
        Captured { head: self.head, total: self.total, ..Default::default() }
    }
}
