//! Where reads land before their size is known.
//!
//! A large read is passed on as it lies, without a copy. Its room is used again once everything in it was sent; while one
//! room is on its way, the other one is filled. A small read is copied, so that a few bytes that nobody takes
//! don't keep a room in use.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// Read at once: two packets of what OpenSSH accepts.
pub(super) const READ: usize = 64 << 10;

/// A room: a few reads.
const ROOM: usize = 4 * READ;

/// A read that is passed on as it lies.
const LARGE: usize = READ / 4;

/// Two rooms, the first of which is being filled.
#[derive(Debug, Default)]
pub(super) struct Landing {
    rooms: [BytesMut; 2],
}

impl Landing {
    /// Reads what there is, at most [`READ`] bytes; empty at the end.
    pub(super) fn poll_read<R>(&mut self, reader: &mut R, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>>
    where
        R: AsyncRead + Unpin,
    {
        let room = self.room();
        let read = ready!(poll_read_buf(Pin::new(reader), cx, &mut room.limit(READ)))?;
        let room = &mut self.rooms[0];
        if read >= LARGE {
            return Poll::Ready(Ok(room.split().freeze()));
        }
        let copy = Bytes::copy_from_slice(room);
        room.clear();
        Poll::Ready(Ok(copy))
    }

    fn room(&mut self) -> &mut BytesMut {
        if self.rooms[0].capacity() < READ {
            self.rooms.swap(0, 1);
            if !self.rooms[0].try_reclaim(ROOM) {
                self.rooms[0] = BytesMut::with_capacity(ROOM);
            }
        }
        &mut self.rooms[0]
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn read(landing: &mut Landing, mut reader: &[u8]) -> Bytes {
        poll_fn(|cx| landing.poll_read(&mut reader, cx)).await.unwrap()
    }

    #[tokio::test]
    async fn what_was_read_stays_as_it_was_however_long_it_is_kept() {
        let mut landing = Landing::default();
        let sent: Vec<Vec<u8>> =
            (0..40).map(|n: u8| vec![n; [READ, 1, LARGE, LARGE - 1, 0][usize::from(n) % 5]]).collect();
        let mut kept = Vec::new();
        for bytes in &sent {
            kept.push(read(&mut landing, bytes).await);
        }
        assert!(kept == sent);
    }

    #[tokio::test]
    async fn rooms_are_used_again_once_everything_in_them_was_sent() {
        let mut landing = Landing::default();
        let mut places = std::collections::BTreeSet::new();
        let mut under_way = std::collections::VecDeque::new();
        for _ in 0..100 {
            let bytes = read(&mut landing, &[7; READ]).await;
            places.insert(bytes.as_ptr());
            under_way.push_back(bytes);
            if under_way.len() > 3 {
                under_way.pop_front();
            }
        }
        assert_eq!(places.len(), 2 * ROOM / READ);
    }

    #[tokio::test]
    async fn no_more_is_read_at_once_than_fits() {
        assert_eq!(read(&mut Landing::default(), &[7; 2 * READ]).await.len(), READ);
    }
}
