//! How much may come twice.
//!
//! Who is asked for what another one owes may bring it a second time: that is worth it now and then, where somebody is late or a block
//! is the last one. In a crowd whose lines are full everybody is late, and blocks that come twice make it later still. So a part
//! of what comes is the most that may come twice; beyond it a late peer is waited for.

use crate::limits::{TWICE_MAX, TWICE_PART};

/// An account of blocks that came twice, in parts of a block.
#[derive(Debug)]
pub(super) struct Thrift {
    left: i64,
}

impl Thrift {
    const MOST: i64 = TWICE_MAX * TWICE_PART;

    pub(super) const fn new() -> Self {
        Self { left: Self::MOST }
    }

    /// A block came that was not here.
    pub(super) fn came(&mut self) {
        self.left = (self.left + 1).min(Self::MOST);
    }

    /// A block came that was here already.
    pub(super) fn came_twice(&mut self) {
        self.left = (self.left - TWICE_PART).max(-Self::MOST);
    }

    /// Tells whether a block may be asked for that may be on its way from somebody else.
    pub(super) const fn allows(&self) -> bool {
        self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_of_what_comes_may_come_twice() {
        let mut thrift = Thrift::new();
        for _ in 0..TWICE_MAX {
            assert!(thrift.allows());
            thrift.came_twice();
        }
        let (mut came, mut twice) = (0, 0);
        while came < 100 * TWICE_PART {
            if thrift.allows() {
                thrift.came_twice();
                twice += 1;
            } else {
                thrift.came();
                came += 1;
            }
        }
        assert_eq!(twice, 100, "one of so many");
        (0..2 * TWICE_MAX).for_each(|_| thrift.came_twice());
        (0..=TWICE_MAX * TWICE_PART).for_each(|_| thrift.came());
        assert!(thrift.allows(), "a debt is forgiven in the end");
    }
}
