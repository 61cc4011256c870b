//! LiveKit as the platform needs it: dispatch an agent into a room, close the room.
//!
//! The port says how little is promised. LiveKit may drop a dispatch that it took, run
//! it twice, or lose the worker silently; whoever dispatches finds out by deadlines of
//! his own. [`RealLiveKit`] speaks to any LiveKit server, `livekit-dev` among them.

mod port;
mod real;

pub use port::{LiveKit, LiveKitError, NewDispatch};
pub use real::RealLiveKit;
