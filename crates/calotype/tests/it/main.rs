//! Integration tests, one module for each concern.
#![recursion_limit = "256"]

mod gradients;
