//! A compute controller in the shape of OpenStack Nova whose parts share nothing but relational state.
//!
//! Every part reads and writes tables through [`rome_core::database::Database`] alone, so that the same program runs on the embedded
//! store, on Redis, on etcd, or on a SQL server: the store's URL is the only difference. There is no message queue. A part finds its work
//! by looking at the state, when the database tells that it has changed or else from time to time:
//!
//! ```text
//! api        authenticates, checks quota, inserts servers        -> scheduling
//! scheduler  claims room on a host for them, in a transaction    scheduling -> building (or error)
//! agent      boots, stops and destroys guests on its host        building -> active, deleting -> gone
//! ```
//!
//! From the top: [`cli`] (the program) starts [`api`], [`scheduler`] and [`agent`]s; these speak to the tables through [`state`] (one module an
//! entity, all SQL in there) in terms of [`model`]; [`schema`] creates and seeds the tables; [`driver`] is what an agent boots guests with.

pub mod agent;
pub mod api;
pub mod cli;
pub mod clock;
pub mod doorbell;
pub mod driver;
pub mod meter;
pub mod model;
pub mod patience;
pub mod scheduler;
pub mod schema;
pub mod secrets;
pub mod state;
pub mod stop;
pub mod store;
