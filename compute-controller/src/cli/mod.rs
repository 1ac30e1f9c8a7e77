//! The program: its commands, and how they talk to a person.
