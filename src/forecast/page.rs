//! `report.html`: one file that says first in plain words how good the forecasts are, then shows it.
//!
//! No script and nothing from elsewhere: it can be mailed, printed and kept. Names of series are escaped.

mod figures;
mod sections;
mod summary;

use super::{judge::Answer, report::Report};
use crate::plot::escape;

/// The page on a file called `source`.
pub fn page(source: &str, report: &Report, answers: &[Answer]) -> String {
    let summary = summary::summary(report);
    let body = [
        sections::in_short(&summary),
        sections::by_horizon(&summary),
        sections::all_series(report),
        sections::calibration(report, &summary),
        sections::looks_at(answers),
        sections::each_series(report, answers),
        sections::timing(answers),
        sections::left_out(report),
        NOTES.to_owned(),
    ];
    let title = format!("Forecasts of {}", escape(source));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main>\
         <header><p class=\"over\">Weir {} · rolling-origin evaluation</p><h1>{title}</h1></header>\
         {}</main></body></html>\n",
        env!("CARGO_PKG_VERSION"),
        body.concat()
    )
}

const STYLE: &str = include_str!("page/page.css");
const NOTES: &str = include_str!("page/notes.html");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::{data::Counts, report::Skipped};

    #[test]
    fn a_page_without_a_series_and_with_a_wicked_name_is_whole() {
        let report = Report {
            series: Vec::new(),
            skipped: vec![Skipped::new("<i>", 60, "short & flat".into())],
            data: Counts::default(),
        };
        let page = page("<x>.csv", &report, &[]);
        assert!(page.contains("&lt;i&gt;") && page.contains("short &amp; flat"));
        assert!(!page.contains("<i>") && !page.contains("<x>") && !page.contains("NaN"));
        assert!(page.ends_with("</html>\n"));
    }
}
