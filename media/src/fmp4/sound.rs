//! Sans-IO: Hot: where packets of sound stand and how long they last, in samples.

/// A packet: when its time stamp puts it, and how long it sounds.
pub(super) struct Packet {
    pub(super) stamp: i64,
    pub(super) samples: u32,
}

/// Packets that follow each other without a hole.
struct Row {
    /// Index of the first packet, and its time stamp.
    first: usize,
    stamp: i64,
    /// Where the row starts: never before what any of its packets says.
    base: i64,
    length: i64,
}

/// Where the packets start and how long each lasts; one before a hole lasts over it.
///
/// A packet is after a hole when it is late by more than half of itself: that is no rounding, and
/// no jitter that a listener should get as silence.
pub(super) fn place(packets: impl Iterator<Item = Packet>) -> (i64, Vec<i64>) {
    let mut rows: Vec<Row> = Vec::new();
    let mut durations = Vec::new();
    for packet in packets {
        let samples = i64::from(packet.samples);
        let late = |row: &Row| packet.stamp - row.length - row.stamp;
        match rows.last_mut().filter(|row| late(row) <= samples / 2) {
            Some(row) => {
                row.base = row.base.max(packet.stamp - row.length);
                row.length += samples;
            }
            None => rows.push(Row {
                first: durations.len(),
                stamp: packet.stamp,
                base: packet.stamp,
                length: samples,
            }),
        }
        durations.push(samples);
    }
    for pair in rows.windows(2) {
        durations[pair[1].first - 1] += pair[1].base - pair[0].base - pair[0].length;
    }
    (rows.first().map_or(0, |row| row.base), durations)
}
