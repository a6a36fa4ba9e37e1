//! Against a server of a few lines; the strict one is in the demo.
