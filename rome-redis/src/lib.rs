//! rome-redis
