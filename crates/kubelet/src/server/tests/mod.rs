//! The kubelet API against real TLS clients and a scripted interLink API on a real socket.

mod authority;
mod certificates;
mod connections;
mod logs;
mod next_hop;
mod reviews;
mod routes;
