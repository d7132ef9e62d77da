//! How many connections may be open, in all and from one address.
//!
//! The table of addresses holds only addresses with an open connection, so it is never larger
//! than the total. A permit gives its place back when dropped. An IPv6 host is its /64, which
//! is what one subscriber gets.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A limit on open connections; clones share it.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max: usize,
    per_address: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    open: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Connections {
    /// At most `max` connections, of which `per_address` from one address.
    pub fn new(max: usize, per_address: usize) -> Self {
        Self(Arc::new(Inner {
            max,
            per_address,
            table: Mutex::default(),
        }))
    }

    /// Takes a place, or says which limit is reached.
    pub fn try_acquire(&self, address: IpAddr) -> Result<Permit, Refused> {
        let host = host(address);
        let mut table = self.0.table.lock();
        if table.open >= self.0.max {
            return Err(Refused::Full);
        }
        // Looked up before it is made, so that a refusal leaves no entry behind.
        if table.by_address.get(&host).copied().unwrap_or(0) >= self.0.per_address {
            return Err(Refused::Address);
        }
        table.open += 1;
        *table.by_address.entry(host).or_default() += 1;
        Ok(Permit {
            limit: self.clone(),
            host,
        })
    }

    /// How many places are taken.
    pub fn open(&self) -> usize {
        self.0.table.lock().open
    }
}

/// One place among the connections, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    limit: Connections,
    host: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut table = self.limit.0.table.lock();
        table.open -= 1;
        if let Some(count) = table.by_address.get_mut(&self.host) {
            *count -= 1;
            if *count == 0 {
                table.by_address.remove(&self.host);
            }
        }
    }
}

/// Lets this process open as many files and sockets as the system allows it at all, and says how
/// many: the usual soft limit of 1,024 is for programs that use `select`.
pub fn raise_descriptors() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// How many files and sockets this process may have open.
pub fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Which limit refused a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// All places are taken.
    Full,
    /// This address holds as many places as one address may.
    Address,
}

impl Refused {
    /// The word for counters and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Address => "address",
        }
    }
}

fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_total_holds_and_places_come_back() {
        let limit = Connections::new(2, 2);
        let first = limit.try_acquire(ip("192.0.2.1")).unwrap();
        let _second = limit.try_acquire(ip("192.0.2.2")).unwrap();
        assert_eq!(
            limit.try_acquire(ip("192.0.2.3")).unwrap_err(),
            Refused::Full
        );
        drop(first);
        assert_eq!(limit.open(), 1);
        assert!(limit.try_acquire(ip("192.0.2.3")).is_ok());
    }

    #[test]
    fn one_host_gets_no_more_than_its_share() {
        let check = |first: &str, second: &str, same: bool| {
            let limit = Connections::new(10, 1);
            let _held = limit.try_acquire(ip(first)).unwrap();
            let again = limit.try_acquire(ip(second));
            assert_eq!(
                again.is_err_and(|e| e == Refused::Address),
                same,
                "{first} {second}"
            );
        };
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("192.0.2.1", "::ffff:192.0.2.1", true);
        check("2001:db8::1", "2001:db8::2", true);
        check("2001:db8::1", "2001:db8:0:1::1", false);
    }

    #[test]
    fn raising_the_descriptors_reaches_the_hard_limit() {
        let raised = raise_descriptors().unwrap();
        assert_eq!(descriptors(), raised);
    }

    #[test]
    fn the_table_forgets_addresses_without_connections() {
        let limit = Connections::new(10, 1);
        for last in 0..=255 {
            let held = limit.try_acquire(IpAddr::from([192, 0, 2, last])).unwrap();
            assert!(limit.try_acquire(IpAddr::from([192, 0, 2, last])).is_err());
            drop(held);
        }
        assert!(limit.0.table.lock().by_address.is_empty());
    }
}
