//! The embedded emoji-scenes and image folders.
