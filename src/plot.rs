//! Sans-IO: small charts as inline SVG, for reports that are one file.
//!
//! A chart has classes and no colours: the page's style sheet decides those, for light, dark and paper.
//! Numbers are written with one decimal of a pixel, so that a report stays small.

use std::fmt::Write as _;

/// A chart being drawn: data coordinates in, pixels out.
pub struct Chart {
    x: Scale,
    y: Scale,
    body: String,
}

/// Width and height of a chart, in units that are pixels on a phone.
const SIZE: (f64, f64) = (440.0, 230.0);
/// Room for labels: left, right, above, below.
const MARGIN: (f64, f64, f64, f64) = (46.0, 12.0, 10.0, 26.0);

/// From data to pixels along one axis.
#[derive(Clone, Copy)]
struct Scale {
    from: (f64, f64),
    to: (f64, f64),
}

impl Scale {
    fn at(self, value: f64) -> f64 {
        let span = self.from.1 - self.from.0;
        let share = if span == 0.0 {
            0.5
        } else {
            (value - self.from.0) / span
        };
        self.to.0 + share * (self.to.1 - self.to.0)
    }
}

impl Chart {
    /// Over a range of x and one of y.
    pub fn new(x: (f64, f64), y: (f64, f64)) -> Self {
        let (left, right, above, below) = MARGIN;
        Self {
            x: Scale {
                from: x,
                to: (left, SIZE.0 - right),
            },
            y: Scale {
                from: y,
                to: (SIZE.1 - below, above),
            },
            body: String::new(),
        }
    }

    /// Lines across, each with its label.
    pub fn rows(&mut self, ticks: &[(f64, String)]) {
        let (left, right) = self.x.to;
        for (value, label) in ticks {
            let y = self.y.at(*value);
            let _ = write!(
                self.body,
                r#"<path class="grid" d="M{left:.1} {y:.1}H{right:.1}"/><text class="row" x="{:.1}" y="{:.1}">{}</text>"#,
                left - 6.0,
                y + 4.0,
                escape(label)
            );
        }
    }

    /// Labels below, each with a short mark.
    pub fn columns(&mut self, ticks: &[(f64, String)]) {
        let bottom = self.y.to.0;
        for (value, label) in ticks {
            let x = self.x.at(*value);
            let _ = write!(
                self.body,
                r#"<path class="grid" d="M{x:.1} {bottom:.1}v4"/><text class="column" x="{x:.1}" y="{:.1}">{}</text>"#,
                bottom + 17.0,
                escape(label)
            );
        }
    }

    /// A line through points; one that is not finite breaks it.
    pub fn line(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let (mut path, mut pen) = (String::new(), 'M');
        for (x, y) in points {
            if x.is_finite() && y.is_finite() {
                let _ = write!(path, "{pen}{:.1} {:.1}", self.x.at(x), self.y.at(y));
                pen = 'L';
            } else {
                pen = 'M';
            }
        }
        let _ = write!(self.body, r#"<path class="{class}" d="{path}"/>"#);
    }

    /// The area between two lines, `(x, low, high)`; a point that is not finite parts it.
    pub fn band(&mut self, class: &str, points: &[(f64, f64, f64)]) {
        let known = |(x, low, high): &(f64, f64, f64)| (x + low + high).is_finite();
        let mut path = String::new();
        for part in points
            .split(|point| !known(point))
            .filter(|part| part.len() > 1)
        {
            let there = part.iter().map(|(x, _, high)| (*x, *high));
            let back = part.iter().rev().map(|(x, low, _)| (*x, *low));
            for (nth, (x, y)) in there.chain(back).enumerate() {
                let pen = if nth == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{pen}{:.1} {:.1}", self.x.at(x), self.y.at(y));
            }
            path.push('Z');
        }
        let _ = write!(self.body, r#"<path class="{class}" d="{path}"/>"#);
    }

    /// A round mark.
    pub fn dot(&mut self, class: &str, (x, y): (f64, f64), radius: f64) {
        let (x, y) = (self.x.at(x), self.y.at(y));
        let _ = write!(
            self.body,
            r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{radius}"/>"#
        );
    }

    /// A word beside a point.
    pub fn word(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        let (x, y) = (self.x.at(x), self.y.at(y));
        // Towards the middle, where there is room.
        let (anchor, x) = match x > SIZE.0 * 0.75 {
            true => ("end", x - 7.0),
            false => ("start", x + 7.0),
        };
        let _ = write!(
            self.body,
            r#"<text class="{class}" text-anchor="{anchor}" x="{x:.1}" y="{:.1}">{}</text>"#,
            y + 4.0,
            escape(text)
        );
    }

    /// The chart, with what it says in words for those who cannot see it.
    pub fn finish(self, says: &str) -> String {
        let (width, height) = SIZE;
        format!(
            r#"<svg viewBox="0 0 {width} {height}" role="img" aria-label="{}">{}</svg>"#,
            escape(says),
            self.body
        )
    }
}

/// Round values from 0, or from `low`, to `high` and a little beyond: at most seven.
pub fn ticks(low: f64, high: f64) -> Vec<f64> {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 {
        return vec![low];
    }
    let magnitude = 10_f64.powf((span / 5.0).log10().floor());
    let nice = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude);
    let step = nice.into_iter().find(|step| span / step <= 5.0);
    let step = step.unwrap_or(10.0 * magnitude);
    let first = (low / step).floor();
    let count = (high / step).ceil() - first;
    (0..=count as usize)
        .map(|nth| (first + nth as f64) * step)
        .collect()
}

/// A number on an axis: 1.2k, 35M.
pub fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        v if v >= 1e12 => (value / 1e12, "T"),
        v if v >= 1e9 => (value / 1e9, "G"),
        v if v >= 1e6 => (value / 1e6, "M"),
        v if v >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{scaled:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

/// Text that is safe between tags and in attributes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_range() {
        let check = |low, high, expect: &[f64]| assert_eq!(ticks(low, high), expect);
        check(0.0, 9.0, &[0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        check(0.0, 5000.0, &[0.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0]);
        check(3.0, 3.0, &[3.0]);
        check(0.0, f64::INFINITY, &[0.0]);
        assert_eq!(
            [0.5, 1200.0, 35e6, 0.0].map(short),
            ["0.5", "1.2k", "35M", "0"]
        );
    }

    #[test]
    fn a_line_breaks_where_nothing_is_known_and_names_are_harmless() {
        let mut chart = Chart::new((0.0, 3.0), (0.0, 1.0));
        chart.line("a", [(0.0, 0.0), (1.0, f64::NAN), (2.0, 1.0), (3.0, 0.0)]);
        chart.band(
            "b",
            &[(0.0, 0.0, 1.0), (1.0, 0.0, 1.0), (2.0, f64::NAN, 1.0)],
        );
        let svg = chart.finish("<script>");
        assert_eq!(svg.matches('M').count(), 3);
        assert!(!svg.contains("NaN") && !svg.contains("<script>"));
    }
}
