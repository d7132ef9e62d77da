//! Sans-IO: how many viewers the process has file descriptors for.
//!
//! A viewer's connection is one descriptor. Some stay free for those who come when the node is full:
//! they are to hear so, and where to go. The files and sockets of the node itself come on top.

/// What the public listener may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Connections at one time.
    pub(crate) connections: usize,
    /// Viewers at one time; 0 is no limit.
    pub(crate) viewers: u32,
    /// Descriptors that would be enough for the viewers wished for.
    pub(crate) needed: u64,
}

impl Room {
    /// The room for so many viewers, or for fewer where descriptors are short; 0 is as many as there
    /// are descriptors for.
    pub(crate) fn new(viewers: u32, descriptors: u64) -> Self {
        let most = descriptors.saturating_sub(OTHERS).max(1);
        let fitting = u32::try_from(most - most / SPARE).unwrap_or(u32::MAX);
        let wished = u64::from(viewers);
        let connections = match wished {
            0 => most,
            _ => (wished * 2).max(FEWEST).min(most),
        };
        let viewers = match viewers {
            0 => fitting,
            _ => viewers.min(fitting),
        };
        Self {
            connections: usize::try_from(connections).unwrap_or(usize::MAX),
            viewers,
            needed: wished + wished.div_ceil(SPARE - 1) + OTHERS,
        }
    }
}

/// One connection in so many is kept for those who are sent elsewhere, at least.
const SPARE: u64 = 8;

/// Descriptors for all but viewers: runtimes, listeners, operators, files. The relay's connections
/// share one.
const OTHERS: u64 = 512;

/// Connections that even a small node takes, where it has the descriptors.
const FEWEST: u64 = 16_384;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn viewers_fit_the_descriptors() {
        let check = |viewers, descriptors, connections, fitting, short| {
            let room = Room::new(viewers, descriptors);
            let found = (room.connections, room.viewers, room.needed > descriptors);
            assert_eq!(
                found,
                (connections, fitting, short),
                "{viewers} {descriptors}"
            );
        };
        // Plenty.
        check(5_000, 1 << 20, 16_384, 5_000, false);
        check(15_000, 1 << 20, 30_000, 15_000, false);
        // Enough: fewer connections beside the viewers.
        check(15_000, 20_000, 19_488, 15_000, false);
        // Short: some descriptors stay free for those who are sent elsewhere.
        check(15_000, 4_096, 3_584, 3_136, true);
        check(5_000, 1_024, 512, 448, true);
        check(5_000, 100, 1, 1, true);
        // No limit but the descriptors.
        check(0, 20_000, 19_488, 17_052, false);
        check(0, u64::MAX, usize::MAX - 512, u32::MAX, false);
    }

    proptest! {
        #[test]
        fn what_is_needed_is_enough(viewers in 1_u32..) {
            let needed = Room::new(viewers, 0).needed;
            prop_assert_eq!(Room::new(viewers, needed).viewers, viewers);
            let less = Room::new(viewers, needed - 2);
            prop_assert!(less.viewers < viewers || less.needed > needed - 2);
        }

        #[test]
        fn some_connections_are_no_viewers(viewers: u32, descriptors in 1_024_u64..) {
            let room = Room::new(viewers, descriptors);
            prop_assert!(room.connections as u64 > u64::from(room.viewers));
        }
    }
}
