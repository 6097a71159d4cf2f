//! From a prompt to a picture.
