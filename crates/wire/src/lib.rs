//! The interLink contract: types, tolerant decoding, paths and capability names. No I/O.
