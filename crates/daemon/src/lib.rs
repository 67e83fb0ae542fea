//! What every interlink program shares: flags, configuration, logs, signals, state.
