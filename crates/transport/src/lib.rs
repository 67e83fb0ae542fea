//! Endpoints, listeners that own their socket file, and a pooled client.
