//! Sans-IO: forecasts that need no training, which every model has to beat. All in `ln(1 + y)`.

use crate::history::History;

/// As much as now.
pub fn persistence(past: &History) -> f32 {
    past.now()
}

/// As much as a season ago.
pub fn seasonal(past: &History, season: usize, ahead: usize) -> Option<f32> {
    past.back(season.checked_sub(ahead)?)
}

/// As much as a season ago, times how much more there is now than then, over the last few steps.
pub fn scaled(past: &History, season: usize, ahead: usize) -> Option<f32> {
    let then = seasonal(past, season, ahead)?;
    let (mut more, mut count) = (0.0, 0.0);
    for back in 0..RECENT {
        if let (Some(now), Some(before)) = (past.back(back), past.back(season + back)) {
            more += now - before;
            count += 1.0;
        }
    }
    (count > 0.0).then(|| then + more / count)
}

/// Steps that say how much more there is than a season ago.
const RECENT: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::Calendar;

    #[test]
    fn a_season_ago_as_it_was_and_scaled() {
        let calendar = Calendar {
            day_s: 4,
            week_s: 28,
        };
        let mut past = History::new(calendar.clock(1));
        for (step, value) in [1.0, 3.0, 7.0, 1.0, 3.0, 7.0, 15.0].into_iter().enumerate() {
            past.push(step as i64, value);
        }
        assert_eq!(persistence(&past), 16.0_f32.ln());
        assert_eq!(seasonal(&past, 4, 1), Some(2.0_f32.ln()));
        assert_eq!(seasonal(&past, 2, 3), None);
        let twice = scaled(&past, 4, 1).unwrap();
        assert!((twice - 4.0_f32.ln()).abs() < 1e-5, "{twice}");
        assert_eq!(scaled(&past, 28, 1), None);
    }
}
