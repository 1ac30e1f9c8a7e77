//! rome-etcd
