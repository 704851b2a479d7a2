//! stub
#![allow(missing_docs)]
pub mod json;
pub mod terminal;
use crate::model::event::Event;
pub trait Reporter {
    fn event(&mut self, event: &Event) -> std::io::Result<()>;
}
