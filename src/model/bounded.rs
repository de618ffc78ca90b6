//! What comes out of a container is bounded, and says so: whoever lives there makes interfaces,
//! addresses and routes as he likes.

/// The most of each that is told of.
pub const MOST: usize = 64;

/// At most [`MOST`] of them, in their order, and how many more there are. Those that are ours are
/// not left out for others.
pub fn bounded<T>(mut all: Vec<T>, ours: impl Fn(&T) -> bool) -> (Vec<T>, usize) {
    let more = all.len().saturating_sub(MOST);
    let mut others = MOST.saturating_sub(all.iter().filter(|one| ours(one)).count());
    if more > 0 {
        all.retain(|one| {
            let taken = ours(one) || others > 0;
            others -= usize::from(taken && !ours(one));
            taken
        });
        // Where even ours are more.
        all.truncate(MOST);
    }
    (all, more)
}

/// `… and 15,936 more`; `None` where there are no more.
pub fn more(number: usize) -> Option<String> {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    (number > 0).then(|| format!("… and {} more", groups.collect::<Vec<_>>().join(",")))
}

#[cfg(test)]
mod tests {
    use super::{MOST, bounded, more};

    #[test]
    fn what_is_ours_is_not_left_out_and_what_is_left_out_is_counted() {
        let few: Vec<usize> = (0..MOST).collect();
        assert_eq!(bounded(few.clone(), |_| false), (few, 0));
        let (taken, more) = bounded((0..16_000).collect(), |number| [9, 15_000].contains(number));
        assert_eq!((taken.len(), more), (MOST, 15_936));
        assert_eq!((taken[0], taken[MOST - 2], taken[MOST - 1]), (0, 62, 15_000));
        assert_eq!(bounded((0..MOST + 3).collect(), |_| true).0.len(), MOST);
    }

    #[test]
    fn what_is_left_out_is_told() {
        assert_eq!(more(0), None);
        assert_eq!(more(7).unwrap(), "… and 7 more");
        assert_eq!(more(15_936).unwrap(), "… and 15,936 more");
        assert_eq!(more(1_000_000).unwrap(), "… and 1,000,000 more");
    }
}
