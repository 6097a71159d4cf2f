//! Is it any good?
