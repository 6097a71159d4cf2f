use std::fs;

use super::*;
use crate::testing::TempDir;

fn page(content: Content) -> Result<String> {
    let section = Section { title: "Section".into(), text: String::new(), content };
    Report { title: "Title".into(), sections: vec![section], ..Report::default() }.to_html()
}

fn chart(log_y: bool, lists: &[&[(f64, f64)]]) -> Chart {
    let curves = lists.iter().map(|points| Curve::smoothed("loss", points, log_y)).collect();
    Chart { log_y, curves, ..Chart::default() }
}

#[test]
fn everything_is_escaped() {
    let hostile = "</title><script>alert('1')</script>\"&";
    let text = || hostile.to_string();
    let line = Curve::smoothed(hostile, &[(0.0, 1.0), (1.0, 2.0)], false);
    let chart = || Chart {
        title: text(),
        x_label: text(),
        y_label: text(),
        log_y: false,
        curves: vec![line.clone()],
    };
    let figure = Figure { image: RgbImage::new(2, 2), caption: text() };
    let table = Table { columns: vec![text()], rows: vec![vec![text()]] };
    let contents = [
        Content::Charts(vec![chart(), chart()]),
        Content::Figures(vec![FigureRow { figures: vec![figure] }]),
        Content::Table(table),
    ];
    let report = Report {
        title: text(),
        summary: vec![text()],
        facts: vec![(text(), text())],
        sections: contents.map(|content| Section { title: text(), text: text(), content }).into(),
    };
    let html = report.to_html().unwrap();
    assert!(!html.contains("<script"));
    assert!(!html.contains("&\""), "an unescaped quote would end an attribute");
    let escaped = "&lt;/title&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;";
    // Title twice, summary, fact twice; 3 × (section heading, its text, its contents entry); per chart
    // title, description (title, axes, name), two labels, name twice; caption twice; two cells.
    assert_eq!(html.matches(escaped).count(), 5 + 3 * 3 + 2 * (1 + 4 + 2 + 2) + 2 + 2);
}

#[test]
fn page_needs_nothing_else() {
    let line = [(0.0, 1.0), (1.0, 2.0)];
    let html = page(Content::Charts(vec![chart(false, &[&line])])).unwrap();
    for forbidden in ["http://", "https://", "<script", "<link", "@import", "url("] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn hopeless_values_do_not_break_a_chart() {
    let nan = [(0.0, f64::NAN), (f64::INFINITY, 1.0)];
    let huge = [(0.0, f64::MAX), (1.0, f64::MIN), (2.0, f64::MIN_POSITIVE), (3.0, 0.0), (4.0, 1e99)];
    let one = [(7.0, 7.0)];
    let cases: [&[&[(f64, f64)]]; 6] = [&[], &[&[]], &[&nan], &[&huge], &[&one], &[&nan, &[], &huge, &one]];
    for series in cases {
        for log_y in [false, true] {
            let html = page(Content::Charts(vec![chart(log_y, series)])).unwrap();
            let body = html.split_once("<body>").unwrap().1;
            assert!(!body.contains("NaN") && !body.contains("inf"), "{series:?}: {body}");
        }
    }
    let html = page(Content::Charts(vec![chart(false, &[&nan])])).unwrap();
    assert!(html.contains("No values to draw") && html.contains("2 not finite"));
}

#[test]
fn long_series_are_smoothed_and_thinned() {
    let points: Vec<(f64, f64)> = (0..5000).map(|i| (f64::from(i), f64::from(i % 10))).collect();
    let html = page(Content::Charts(vec![chart(false, &[&points])])).unwrap();
    let path = |class: &str| {
        let start = html.split_once(&format!("<path class=\"{class}\" d=\"")).unwrap().1;
        start.split_once('"').unwrap().0.matches('L').count() + 1
    };
    assert!((300..=600).contains(&path("raw")) && (300..=600).contains(&path("line")));
    assert!(html.contains("moving average"));
}

#[test]
fn table_aligns_numbers_and_refuses_ragged_rows() {
    let row = |cells: [&str; 2]| cells.map(String::from).to_vec();
    let columns = row(["metric", "value"]);
    let rows = vec![row(["FID", "12.5 ± 0.3"]), row(["IS", "−1"]), row(["KID", "–"])];
    let html = page(Content::Table(Table { columns: columns.clone(), rows })).unwrap();
    assert!(html.contains("<td>FID<td class=\"number\">12.5 ± 0.3"));
    let ragged = Table { columns, rows: vec![vec!["FID".into()]] };
    let error = page(Content::Table(ragged)).unwrap_err();
    assert_eq!(error.to_string(), "row 1 of the report's table `Section`: expected 2 cells, got 1");
}

#[test]
fn report_is_written_whole_or_not_at_all() {
    let folder = TempDir::new();
    let path = folder.join("report.html");
    let report = Report { title: "Written".into(), ..Report::default() };
    report.write(&path).unwrap();
    report.write(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), report.to_html().unwrap());
    // A folder stands where the report should go: the rename fails and nothing is left behind.
    let occupied = folder.join("occupied");
    fs::create_dir_all(&occupied).unwrap();
    assert!(matches!(report.write(&occupied), Err(Error::Io { .. })));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    assert!(matches!(report.write(&path.join("report.html")), Err(Error::Io { .. })));
    assert!(matches!(report.write(Path::new("/")), Err(Error::Argument { .. })));
}
