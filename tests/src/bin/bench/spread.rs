//! Numbers of several rounds: the middle one, and how far apart they lie.

/// The value that so many in a hundred of sorted values do not exceed.
pub fn at(sorted: &[f64], percent: f64) -> f64 {
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The middle of some values, and the least and the greatest of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub middle: f64,
    pub least: f64,
    pub greatest: f64,
}

impl Spread {
    /// Of those that are numbers; none when there is none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (least, greatest) = (*sorted.first()?, *sorted.last()?);
        let half = sorted.len() / 2;
        let middle = if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) };
        Some(Spread { middle, least, greatest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_lies_between_the_ends() {
        let spread = Spread::of([3.0, 1.0, f64::NAN, 2.0]).unwrap();
        assert_eq!(spread, Spread { middle: 2.0, least: 1.0, greatest: 3.0 });
        assert_eq!(Spread::of([1.0, 2.0]).unwrap().middle, 1.5);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_rank_is_a_value_that_was_seen() {
        let values: Vec<f64> = (1..=1_000).map(f64::from).collect();
        assert_eq!([at(&values, 50.0), at(&values, 99.0), at(&values, 99.9)], [500.0, 990.0, 999.0]);
        assert!(at(&[], 50.0).is_nan());
    }
}
