use tokio::sync::mpsc;
use tokio::sync::mpsc::OwnedPermit;

use super::{Finish, Output, Piece};

/// Where the answer of one request leaves the engine.
///
/// Never waits. The places of the last text and of the finish are reserved from the start, so
/// that a reader who is behind gets both all the same.
#[derive(Debug)]
pub(super) struct Outlet {
    sender: mpsc::Sender<Output>,
    last: Option<OwnedPermit<Output>>,
    finish: Option<OwnedPermit<Output>>,
}

impl Outlet {
    /// An outlet that holds `buffer` pieces, and its other end.
    pub fn new(buffer: usize) -> (Self, mpsc::Receiver<Output>) {
        let (sender, receiver) = mpsc::channel(buffer.max(1) + 2);
        let last = sender.clone().try_reserve_owned().ok();
        let finish = sender.clone().try_reserve_owned().ok();
        (Self { sender, last, finish }, receiver)
    }

    /// Whether nobody reads any more.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether a piece can leave now.
    pub fn has_room(&self) -> bool {
        self.sender.capacity() > 0
    }

    /// Sends a piece. The caller has seen [`has_room`](Self::has_room).
    pub fn piece(&self, piece: Piece) {
        // A reader that has gone needs no text; the next step sees that it has.
        let _ = self.sender.try_send(Output::Piece(piece));
    }

    /// Sends what is left of the text, and the end.
    pub fn finish(self, last: Option<Piece>, finish: Finish) {
        if let (Some(piece), Some(permit)) = (last, self.last) {
            permit.send(Output::Piece(piece));
        }
        if let Some(permit) = self.finish {
            permit.send(Output::Finish(finish));
        }
    }
}
