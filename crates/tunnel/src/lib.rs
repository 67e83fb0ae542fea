//! ssh-tunnel: holds a forward open between a service and a machine behind SSH.
