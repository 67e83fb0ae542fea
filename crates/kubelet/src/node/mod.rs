//! The node.

mod taint;

pub use taint::{FIXED_KEY, Taint};
