//! What arrives from Stripe: is it Stripe's, is it fresh, and what does it say.
//!
//! Pure: no I/O and no clock; the caller passes the bytes as received and `now`. Nothing here answers HTTP.
//! What a payload holds beyond [`crate::domain::event::Notification`] (personal data, mostly) is dropped here.

pub mod install_link;
pub mod payload;
pub mod signature;
