//! compute-controller
