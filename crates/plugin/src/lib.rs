//! interlink-plugin: runs pods as batch jobs.
