//! One readable loop for each part.
