//! Pictures of a run, as SVG: how far each figure is above or below its target, and how memory grows with the fleet.
//!
//! The text is drawn by whoever shows the picture, so no fonts are needed here. Colours follow the reader's light or dark theme.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::figure::{Figure, Unit};
use super::{BenchError, Growth};

/// Colours of the light theme; `DARK` has what replaces each in a dark one.
const BACKGROUND: RGBColor = RGBColor(255, 255, 255);
const TEXT: RGBColor = RGBColor(31, 35, 40);
const DIM: RGBColor = RGBColor(101, 109, 118);
const GRID: RGBColor = RGBColor(225, 228, 232);
const GOOD: RGBColor = RGBColor(26, 127, 55);
const BAD: RGBColor = RGBColor(207, 34, 46);
const LINE: RGBColor = RGBColor(9, 105, 218);
const DARK: [(RGBColor, &str); 7] = [
    (BACKGROUND, "#0d1117"),
    (TEXT, "#e6edf3"),
    (DIM, "#9198a1"),
    (GRID, "#2a313c"),
    (GOOD, "#3fb950"),
    (BAD, "#f85149"),
    (LINE, "#58a6ff"),
];

const FONT: &str = "sans-serif";
const WIDTH: i32 = 1080;
/// Where the bars of the first chart stand.
const TOP: i32 = 96;
const ROW_HEIGHT: i32 = 28;
const LEFT: i32 = 330;
const RIGHT: i32 = 820;
/// The space of the second chart.
const GROWTH_HEIGHT: i32 = 560;
/// What dormant agents are held to.
const BYTES_TARGET: f64 = 200.0;

/// Pieces of a curve.
const STEPS: u32 = 64;

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// A bar for each figure that has a target: how many times as good as the target it is, on a logarithmic scale.
pub(crate) fn table_chart(figures: &[Figure]) -> Result<String, BenchError> {
    let bars: Vec<_> = figures.iter().filter_map(|figure| Some((figure, figure.worst_margin()?))).collect();
    let height = TOP + ROW_HEIGHT * i32::try_from(bars.len()).unwrap_or(i32::MAX / 64) + 44;
    let scale = Scale::of(bars.iter().map(|(_, margin)| *margin));
    drawn(height, |area| {
        label(area, "Figures against their targets", (24, 20), 22, TEXT, HPos::Left)?;
        let about = "bars to the right of the line meet the target; each step is twice as good";
        label(area, about, (24, 50), 14, DIM, HPos::Left)?;
        for step in scale.low..=scale.high {
            let at = scale.place(2_f64.powi(step));
            let (color, width) = if step == 0 { (TEXT, 2) } else { (GRID, 1) };
            let style = color.stroke_width(width);
            area.draw(&PathElement::new(vec![(at, TOP - 8), (at, height - 34)], style)).map_err(chart)?;
            label(area, &times(step), (at, height - 28), 12, DIM, HPos::Center)?;
        }
        for (line, (figure, margin)) in bars.iter().enumerate() {
            let y = TOP + ROW_HEIGHT * i32::try_from(line).unwrap_or(0);
            bar(area, &scale, y, figure, *margin)?;
        }
        Ok(())
    })
}

fn bar(area: &Area<'_>, scale: &Scale, y: i32, figure: &Figure, margin: f64) -> Result<(), BenchError> {
    let color = if margin >= 1.0 { GOOD } else { BAD };
    let (from, to) = (scale.place(1.0), scale.place(margin));
    let (left, right) = (from.min(to), from.max(to));
    // A figure that just meets its target has a bar to be seen too.
    let corners = [(left - 1, y), (right.max(left + 2), y + ROW_HEIGHT - 12)];
    area.draw(&Rectangle::new(corners, color.filled())).map_err(chart)?;
    label(area, &format!("{}: {}", figure.row, figure.what), (LEFT - 16, y), 13, TEXT, HPos::Right)?;
    let mut says = figure.unit.show(figure.nexus);
    if let (Some(ratio), Some(first)) = (figure.ratio(), figure.baselines.first()) {
        says.push_str(&format!(" = {ratio:.2} × {}", first.name));
    }
    says.push_str(&format!("  ({})", figure.show_targets()));
    label(area, &says, (RIGHT + 12, y), 12, if margin >= 1.0 { DIM } else { BAD }, HPos::Left)
}

/// From how many times to pixels: whole powers of two, at least one on each side of 1.
struct Scale {
    low: i32,
    high: i32,
}

impl Scale {
    #[expect(clippy::cast_possible_truncation, reason = "clamped to a few powers of two")]
    fn of(margins: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (-1, 1);
        for log in margins.map(f64::log2) {
            low = low.min(log.clamp(-6.0, 6.0).floor() as i32);
            high = high.max(log.clamp(-6.0, 6.0).ceil() as i32);
        }
        Self { low, high }
    }

    /// Beyond the scale lies its end.
    #[expect(clippy::cast_possible_truncation, reason = "pixels of a picture")]
    fn place(&self, times: f64) -> i32 {
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        let part = (times.log2().clamp(low, high) - low) / (high - low);
        LEFT + (f64::from(RIGHT - LEFT) * part).round() as i32
    }
}

fn times(power: i32) -> String {
    match power {
        0 => "target".to_owned(),
        1.. => format!("{}×", 1_u32 << power),
        _ => format!("1/{}", 1_u32 << -power),
    }
}

/// Memory of dormant agents by their number, both logarithmic, beside the target, and beside the line that is straight without
/// logarithms and goes through the smallest and the largest fleet.
pub(crate) fn growth_chart(growth: &[Growth]) -> Result<String, BenchError> {
    #[expect(clippy::cast_precision_loss, reason = "counts of agents, far below 2^52")]
    let points: Vec<(f64, f64)> = growth.iter().map(|point| (point.agents as f64, point.bytes)).collect();
    let (Some(&(agents, bytes)), 2..) = (points.last(), points.len()) else {
        return Err(BenchError::Chart("growth needs two fleets: more --agents".to_owned()));
    };
    let (first, last) = (points[0].0 / 1.6, agents * 1.6);
    let (low, high) =
        (points[0].1.min(points[0].0 * BYTES_TARGET) / 2.0, bytes.max(agents * BYTES_TARGET) * 2.0);
    drawn(GROWTH_HEIGHT, |area| {
        label(area, "Memory of dormant agents", (24, 20), 22, TEXT, HPos::Left)?;
        let about = "resident memory above the empty node's, 64 bytes of state each; grey: a fixed part and the same for each agent";
        label(area, about, (24, 50), 14, DIM, HPos::Left)?;
        let below = area.margin(80, 16, 24, 40);
        let mut chart_area = ChartBuilder::on(&below)
            .x_label_area_size(44)
            .y_label_area_size(72)
            .build_cartesian_2d((first..last).log_scale(), (low..high).log_scale())
            .map_err(chart)?;
        let text = |size: i32, color: RGBColor| (FONT, size).into_font().color(&color);
        chart_area
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(DIM)
            .label_style(text(13, DIM))
            .axis_desc_style(text(14, DIM))
            .x_labels(4)
            .y_labels(5)
            .x_desc("agents")
            .x_label_formatter(&|agents| Unit::PerSecond.show(*agents).trim_end_matches("/s").to_owned())
            .y_label_formatter(&|bytes| Unit::Bytes.show(*bytes))
            .draw()
            .map_err(chart)?;
        let target = [(first, first * BYTES_TARGET), (last, last * BYTES_TARGET)];
        chart_area.draw_series(LineSeries::new(target, DIM)).map_err(chart)?;
        let steps = (0..=STEPS).map(|step| first * (last / first).powf(f64::from(step) / f64::from(STEPS)));
        let line = steps.map(|agents| (agents, straight(&points, agents)));
        chart_area.draw_series(LineSeries::new(line, GRID.stroke_width(8))).map_err(chart)?;
        chart_area.draw_series(LineSeries::new(points.clone(), LINE.stroke_width(2))).map_err(chart)?;
        let dots = points.iter().map(|point| Circle::new(*point, 5, LINE.filled()));
        chart_area.draw_series(dots).map_err(chart)?;
        for &(agents, bytes) in &points {
            let (x, y) = chart_area.backend_coord(&(agents, bytes));
            let says = format!("{} each", Unit::Bytes.show(bytes / agents));
            label(area, &says, (x + 12, y + 10), 13, TEXT, HPos::Left)?;
        }
        let (x, y) = chart_area.backend_coord(&(last, last * BYTES_TARGET));
        label(area, "target: 200 B each", (x - 60, y - 4), 13, DIM, HPos::Right)?;
        Ok(())
    })
}

/// What the straight line through the first and the last point comes to at `agents`.
fn straight(points: &[(f64, f64)], agents: f64) -> f64 {
    let (Some(&(x0, y0)), Some(&(x1, y1))) = (points.first(), points.last()) else { return f64::NAN };
    y0 + (y1 - y0) * (agents - x0) / (x1 - x0)
}

fn label(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    size: i32,
    color: RGBColor,
    side: HPos,
) -> Result<(), BenchError> {
    let style = (FONT, size).into_font().color(&color).pos(Pos::new(side, VPos::Top));
    area.draw(&Text::new(text.to_owned(), at, style)).map_err(chart)
}

/// A picture with a background and both themes.
fn drawn(height: i32, draw: impl FnOnce(&Area<'_>) -> Result<(), BenchError>) -> Result<String, BenchError> {
    let mut svg = String::new();
    {
        let size = (WIDTH.unsigned_abs(), height.unsigned_abs());
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&BACKGROUND).map_err(chart)?;
        draw(&area)?;
        area.present().map_err(chart)?;
    }
    Ok(themed(&svg))
}

/// The picture with a style that replaces its colours in a dark theme: styles go before attributes.
fn themed(svg: &str) -> String {
    let mut style = String::from("<style>@media (prefers-color-scheme: dark) {");
    for (RGBColor(red, green, blue), dark) in DARK {
        let light = format!("#{red:02X}{green:02X}{blue:02X}");
        for attribute in ["fill", "stroke"] {
            style.push_str(&format!("[{attribute}=\"{light}\" i]{{{attribute}:{dark}}}"));
        }
    }
    style.push_str("}</style>\n");
    match svg.find('>').filter(|_| svg.starts_with("<svg")) {
        Some(end) => format!("{}\n{style}{}", &svg[..=end], &svg[end + 1..]),
        None => svg.to_owned(),
    }
}

fn chart(error: impl std::fmt::Display) -> BenchError {
    BenchError::Chart(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::figure::{Baseline, Target};
    use super::*;

    fn figure(what: &str, nexus: f64, targets: &[Target]) -> Figure {
        Figure {
            row: "ask",
            what: what.to_owned(),
            unit: Unit::Nanoseconds,
            nexus,
            range: (nexus, nexus),
            baselines: vec![Baseline { name: "ractor", value: Some(400.0) }],
            targets: targets.to_vec(),
        }
    }

    /// Goal: every figure with a target has its bar, in the colour of its verdict, and none without; colours have a dark twin.
    #[test]
    fn bars_of_figures() {
        let target = [Target::AtMostTimes(1.2, "ractor")];
        let svg = table_chart(&[
            figure("p50", 400.0, &target),
            figure("p99", 900.0, &target),
            figure("p99.9", 900.0, &[]),
        ])
        .unwrap();
        let bars = |color: RGBColor| {
            let RGBColor(red, green, blue) = color;
            let fill = format!("fill=\"#{red:02X}{green:02X}{blue:02X}\"");
            svg.lines().filter(|line| line.starts_with("<rect") && line.contains(&fill)).count()
        };
        assert_eq!((bars(GOOD), bars(BAD)), (1, 1));
        assert!(svg.contains("ask: p99") && !svg.contains("ask: p99.9"));
        assert!(svg.contains("prefers-color-scheme: dark") && svg.contains("900 ns = 2.25 × ractor"));
    }

    /// Goal: margins beyond the scale lie at its end, and 1 always has room on both sides.
    #[test]
    fn scales_are_bounded() {
        let scale = Scale::of([1.1, 1e9].into_iter());
        assert_eq!((scale.low, scale.high), (-1, 6));
        assert_eq!(
            [0.0, 1e9, 2.0].map(|times| scale.place(times)),
            [LEFT, RIGHT, LEFT + (RIGHT - LEFT) * 2 / 7]
        );
        assert_eq!([-2, 0, 3].map(times), ["1/4", "target", "8×"]);
    }

    /// Goal: the growth chart names each fleet's bytes, and nothing to draw is an error.
    #[test]
    fn growth_of_fleets() {
        let growth =
            [10_000, 1_000_000].map(|agents| Growth { agents, bytes: 170.0 * f64::from(agents as u32) });
        let svg = growth_chart(&growth).unwrap();
        assert_eq!(svg.matches("170 B each").count(), 2);
        assert!(growth_chart(&[]).is_err());
    }
}
