//! The local bundle from outside: what it proves, what it refuses, and its page.
#![cfg(test)]

mod demo;
mod page;
mod refusals;
