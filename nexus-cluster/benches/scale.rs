//! `cargo bench -p nexus-cluster --bench scale`: gossip and membership at 16 to 4,096 simulated nodes, as a table and a picture.
//!
//! `-- 16 64` measures these sizes only. The picture is written below the target directory. All is simulated on the pure cores, so that
//! the figures do not depend on the machine; the two last columns say what the simulation itself took.

#![allow(clippy::unwrap_used, reason = "a program for developers")]
#![allow(missing_docs, reason = "a program")]

use std::path::Path;
use std::time::Instant;

use plotters::prelude::*;
use scale::{Row, measure};

#[path = "../tests/simulation/scale.rs"]
#[allow(dead_code, reason = "has a test beside")]
mod scale;
#[path = "../tests/simulation/world.rs"]
#[allow(dead_code, reason = "tests use more of it")]
mod world;

const SIZES: [usize; 5] = [16, 64, 256, 1024, 4096];
const SEED: u64 = 1;
/// Seconds at 1 % loss in which nobody is to be declared down.
const LOSSY_SECS: u64 = 60;
/// What rounds are held to, in ⌈log₂ N⌉.
const RATIO: f64 = 1.5;

fn main() {
    let sizes: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if sizes.is_empty() { SIZES.to_vec() } else { sizes };
    println!(
        "seed {SEED}; lan presets; delays 1 to 5 ms; 4 zones; news: 8 pieces; busy: 16 nodes write each second\n"
    );
    println!(
        "| nodes | ⌈log₂ N⌉ | rounds mean | most | ratio | gossip B/node/s quiet | busy | membership B/node/s | death known to first | to all | wronged at 1 % loss | took | memory |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let rows: Vec<_> = sizes.into_iter().map(show).collect();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scale.svg");
    draw(&rows, &path);
    println!("\npicture: {}", path.display());
    let missed: Vec<_> = rows.iter().filter(|row| row.ratio() > RATIO).map(|row| row.nodes).collect();
    println!(
        "ratio ≤ {RATIO}: {}",
        if missed.is_empty() { "met".to_owned() } else { format!("missed at {missed:?}") }
    );
}

fn show(nodes: usize) -> Row {
    let began = Instant::now();
    let row = measure(nodes, SEED, LOSSY_SECS);
    let seconds = |time: f64| format!("{time:.1} s");
    let (first, last) =
        row.detected.map_or(("-".into(), "not within 120 s".into()), |(a, b)| (seconds(a), seconds(b)));
    println!(
        "| {} | {} | {:.1} | {:.1} | {:.2} | {:.0} | {:.0} | {:.0} | {first} | {last} | {} in {} s | {:.0} s | {} MB |",
        row.nodes,
        row.log,
        row.rounds.0,
        row.rounds.1,
        row.ratio(),
        row.gossip_bytes.0,
        row.gossip_bytes.1,
        row.membership_bytes,
        row.wronged.0,
        row.wronged.1,
        began.elapsed().as_secs_f64(),
        peak_mb(),
    );
    row
}

/// The most memory that the process has had so far.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Rounds and detection by the number of nodes, the latter logarithmic, beside ⌈log₂ N⌉ and its half more.
fn draw(rows: &[Row], path: &Path) {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return };
    let x = |row: &Row| row.nodes as f64;
    let death = |row: &Row| row.detected.map(|(_, last)| (x(row), last));
    let top =
        rows.iter().filter_map(death).map(|(_, last)| last).fold(last.log as f64 * RATIO, f64::max) * 1.1;
    let area = SVGBackend::new(path, (900, 520)).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let mut chart = ChartBuilder::on(&area)
        .caption("News and deaths: until all know", ("sans-serif", 22))
        .margin(20)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d((x(first) / 1.3..x(last) * 1.3).log_scale(), 0.0..top)
        .unwrap();
    chart.configure_mesh().x_desc("nodes").y_desc("rounds or seconds").draw().unwrap();
    let line = |of: &dyn Fn(&Row) -> f64| rows.iter().map(|row| (x(row), of(row))).collect::<Vec<_>>();
    let series = [
        ("⌈log₂ N⌉ × 1.5", line(&|row| row.log as f64 * RATIO), RGBColor(200, 200, 200)),
        ("⌈log₂ N⌉", line(&|row| row.log as f64), RGBColor(120, 120, 120)),
        ("rounds until all know, most of 8", line(&|row| row.rounds.1), RGBColor(9, 105, 218)),
        ("seconds until all know of a death", rows.iter().filter_map(death).collect(), RGBColor(207, 34, 46)),
    ];
    for (name, points, color) in series {
        let drawn = chart.draw_series(LineSeries::new(points, color.stroke_width(2)).point_size(4)).unwrap();
        drawn.label(name).legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], color));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(BLACK)
        .draw()
        .unwrap();
    area.present().unwrap();
}
