//! Plots as SVG: lines over two axes, and nothing that an image does not need.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 46.0;
const COLOURS: [&str; 8] =
    ["#1b6ca8", "#c8553d", "#588157", "#8f5d9f", "#c89b3c", "#3a8f9e", "#6c757d", "#000000"];

/// A plot of one or more series.
#[derive(Clone, Debug)]
pub struct Plot {
    /// The name of its file, without the end.
    pub name: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// What the axes are.
    pub axes: [Axis; 2],
    /// The lines, each with its name.
    pub series: Vec<(String, Vec<[f64; 2]>)>,
}

/// One axis.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// What it counts.
    pub label: &'static str,
    /// Whether each step is ten times the one before.
    pub is_log: bool,
}

impl Axis {
    /// Makes an axis with even steps.
    pub const fn new(label: &'static str) -> Self {
        Self { label, is_log: false }
    }

    /// Makes an axis with tenfold steps.
    pub const fn log(label: &'static str) -> Self {
        Self { label, is_log: true }
    }

    fn place(self, value: f64) -> f64 {
        if self.is_log { value.max(f64::MIN_POSITIVE).log10() } else { value }
    }
}

/// The part of an axis that is shown, from and to, in places.
type Extent = [f64; 2];

impl Plot {
    /// Returns the image.
    pub fn svg(&self) -> String {
        let extents = [0, 1].map(|axis| self.extent(axis));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        text(&mut svg, [LEFT, 20.0], "start", self.title);
        (0..2).for_each(|axis| self.draw_axis(&mut svg, axis, extents));
        for (at, (name, points)) in self.series.iter().enumerate() {
            let colour = COLOURS[at % COLOURS.len()];
            let points: Vec<String> =
                points.iter().map(|point| self.place(*point, extents)).map(pair).collect();
            let _ = writeln!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>",
                points.join(" ")
            );
            let y = TOP + 12.0 + 16.0 * at as f64;
            let _ = writeln!(
                svg,
                "<rect x=\"{}\" y=\"{}\" width=\"10\" height=\"3\" fill=\"{colour}\"/>",
                WIDTH - RIGHT + 12.0,
                y - 5.0
            );
            text(&mut svg, [WIDTH - RIGHT + 28.0, y], "start", name);
        }
        svg + "</svg>\n"
    }

    /// Returns what has to be shown of an axis; one with even steps begins at zero.
    fn extent(&self, axis: usize) -> Extent {
        let points = self.series.iter().flat_map(|(_, points)| points);
        let places: Vec<f64> = points.map(|point| self.axes[axis].place(point[axis])).collect();
        let from = places.iter().copied().fold(f64::INFINITY, f64::min);
        let to = places.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let from = if self.axes[axis].is_log { from.floor() } else { from.min(0.0) };
        if from < to { [from, to] } else { [from, from + 1.0] }
    }

    /// Returns where a point stands in the image.
    fn place(&self, point: [f64; 2], extents: [Extent; 2]) -> [f64; 2] {
        let part = |axis: usize| {
            let [from, to] = extents[axis];
            (self.axes[axis].place(point[axis]) - from) / (to - from)
        };
        let (across, down) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        [LEFT + part(0) * across, HEIGHT - BOTTOM - part(1) * down]
    }

    fn draw_axis(&self, svg: &mut String, axis: usize, extents: [Extent; 2]) {
        let origin = [LEFT, HEIGHT - BOTTOM];
        let end = if axis == 0 { [WIDTH - RIGHT, origin[1]] } else { [LEFT, TOP] };
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"black\" points=\"{} {}\"/>",
            pair(origin),
            pair(end)
        );
        for value in ticks(extents[axis], self.axes[axis].is_log) {
            let mut point = extents.map(|extent| extent[0]);
            for (at, place) in point.iter_mut().enumerate() {
                *place = if self.axes[at].is_log { 10_f64.powf(*place) } else { *place };
            }
            point[axis] = value;
            let [x, y] = self.place(point, extents);
            match axis {
                0 => text(svg, [x, y + 16.0], "middle", &short(value)),
                _ => text(svg, [x - 6.0, y + 4.0], "end", &short(value)),
            }
        }
        match axis {
            0 => text(svg, [end[0], end[1] + 34.0], "end", self.axes[0].label),
            _ => text(svg, [LEFT + 6.0, TOP + 4.0], "start", self.axes[1].label),
        }
    }
}

/// Returns round values within an extent, about five of them.
fn ticks([from, to]: Extent, is_log: bool) -> Vec<f64> {
    if is_log {
        let (from, to) = (from.ceil() as i32, to.floor() as i32);
        return (from..=to).map(|power| 10_f64.powi(power)).collect();
    }
    let raw = (to - from) / 5.0;
    let unit = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * unit).into_iter().find(|s| *s >= raw);
    let step = step.unwrap_or(raw);
    (0..=6).map(|at| from + step * f64::from(at)).filter(|value| *value <= to * 1.001).collect()
}

fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    String::from(text.trim_end_matches('0').trim_end_matches('.'))
}

fn pair([x, y]: [f64; 2]) -> String {
    format!("{x:.1},{y:.1}")
}

fn text(svg: &mut String, [x, y]: [f64; 2], anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ =
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_stand_between_the_axes() {
        let axes = [Axis::log("n"), Axis::new("s")];
        let series = vec![(String::from("a < b"), vec![[1.0, 0.0], [1_000.0, 7.0]])];
        let svg = Plot { name: "n", title: "t", axes, series }.svg();
        let ends = [[LEFT, HEIGHT - BOTTOM], [WIDTH - RIGHT, TOP]].map(pair);
        assert!(svg.contains(&ends.join(" ")) && svg.contains("a &lt; b"));
        assert_eq!(ticks([0.0, 3.0], true), [1.0, 10.0, 100.0, 1_000.0]);
        assert_eq!(ticks([0.0, 7.0], false), [0.0, 2.0, 4.0, 6.0]);
    }
}
