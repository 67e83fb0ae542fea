//! `GET /getLogs`: a part of one container's output, streamed in bounded memory.
//!
//! - [`wanted`]: which container's which part, judged (pure).
//! - [`tail`]: where the last lines begin, read from the end. [`times`]: when each line was written.
//! - [`reader`]: from there on, block by block. [`follow`]: until the end, or until the container has ended.

pub mod follow;
pub mod reader;
pub mod tail;
pub mod times;
pub mod wanted;
