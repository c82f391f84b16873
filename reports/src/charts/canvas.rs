//! A plotters SVG backend whose colours are the page's: every chart is drawn
//! with placeholder colours, which become CSS variables in the finished SVG, so
//! that one chart is legible in light, in dark and in print.

use plotters::coord::Shift;
use plotters::prelude::{
    Circle, DrawingArea, IntoDrawingArea, IntoFont, IntoTextStyle, PathElement, RGBColor,
    Rectangle, SVGBackend, ShapeStyle, Text, TextStyle,
};
use plotters::style::FontStyle;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::clocks::CLOCKS;

/// Backend pixels per pixel of the chart: plotters rounds to whole ones.
const FINENESS: f64 = 8.0;

/// plotters-svg writes a font's size divided by this, the height of a line.
const FONT_FACTOR: f64 = 1.24;

/// Length of a dash and of the gap after it, pixels.
const DASH: f64 = 6.0;
const GAP: f64 = 4.0;

/// No chart is longer than this many of them.
const MOST_DASHES: f64 = 1000.0;

/// Colours a theme defines for runtimes (`--s0`…).
pub const PALETTE: usize = 8;

/// Colours it defines for the phases of a start (`--p0`…), one for each clock.
const PHASES: usize = CLOCKS.len();

/// A colour by its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Text to be read.
    Text,
    /// Axis labels and other text that stands back.
    Muted,
    /// Grid lines.
    Grid,
    /// The page under the chart.
    Page,
    /// Text on a phase's colour.
    OnPhase(usize),
    /// A runtime.
    Series(usize),
    /// A phase of a start.
    Phase(usize),
}

impl Ink {
    /// What stands for it while plotters draws.
    fn placeholder(self) -> (u8, u8, u8) {
        let index = |i: usize, of: usize| u8::try_from(i % of).unwrap_or(0);
        match self {
            Self::Text => (1, 1, 0),
            Self::Muted => (1, 1, 1),
            Self::Grid => (1, 1, 2),
            Self::Page => (1, 1, 3),
            Self::Series(i) => (1, 2, index(i, PALETTE)),
            Self::Phase(i) => (1, 3, index(i, PHASES)),
            Self::OnPhase(i) => (1, 4, index(i, PHASES)),
        }
    }

    fn variable(self) -> String {
        match self {
            Self::Text => "--text".to_owned(),
            Self::Muted => "--muted".to_owned(),
            Self::Grid => "--grid".to_owned(),
            Self::Page => "--page".to_owned(),
            Self::Series(i) => format!("--s{i}"),
            Self::Phase(i) => format!("--p{i}"),
            Self::OnPhase(i) => format!("--on-p{i}"),
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        let series = (0..PALETTE).map(Self::Series);
        let phases = (0..PHASES).flat_map(|i| [Self::Phase(i), Self::OnPhase(i)]);
        let others = [Self::Text, Self::Muted, Self::Grid, Self::Page];
        others.into_iter().chain(series).chain(phases)
    }

    fn color(self) -> RGBColor {
        let (red, green, blue) = self.placeholder();
        RGBColor(red, green, blue)
    }
}

/// Where a text's point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// Left of the text, at half its height.
    Start,
    /// Above or below it in its middle, at half its height.
    Middle,
    /// Right of the text, at half its height.
    End,
}

/// A text's looks.
#[derive(Debug, Clone, Copy)]
pub struct Type {
    /// Height of the font.
    pub size: f64,
    /// Colour.
    pub ink: Ink,
    /// Heavier than the rest.
    pub bold: bool,
}

impl Type {
    /// Text of the size charts use for labels.
    pub fn label(ink: Ink) -> Self {
        Self { size: 12.0, ink, bold: false }
    }

    /// A label that stands out.
    pub fn strong(ink: Ink) -> Self {
        Self { size: 12.5, ink, bold: true }
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Something to draw on, in pixels from the upper left corner.
pub struct Canvas<'a> {
    area: Area<'a>,
}

impl std::fmt::Debug for Canvas<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Canvas").finish_non_exhaustive()
    }
}

/// A chart could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("plotters could not draw: {0}")]
pub struct DrawError(String);

/// What drawing returns.
pub type Drawn = Result<(), DrawError>;

impl Canvas<'_> {
    /// A straight line.
    pub fn line(&self, from: (f64, f64), to: (f64, f64), ink: Ink, width: f64) -> Drawn {
        self.path(&[from, to], ink, width)
    }

    /// A straight line of dashes.
    pub fn dashes(&self, from: (f64, f64), to: (f64, f64), ink: Ink, width: f64) -> Drawn {
        let (across, down) = (to.0 - from.0, to.1 - from.1);
        let number = (across.hypot(down) / (DASH + GAP)).ceil().clamp(1.0, MOST_DASHES);
        let at = |part: f64| (from.0 + across * part, from.1 + down * part);
        let mut begun = 0.0;
        while begun < number {
            let end = (begun + DASH / (DASH + GAP)) / number;
            self.line(at(begun / number), at(end), ink, width)?;
            begun += 1.0;
        }
        Ok(())
    }

    /// A line through points.
    pub fn path(&self, points: &[(f64, f64)], ink: Ink, width: f64) -> Drawn {
        let points: Vec<(i32, i32)> = points.iter().copied().map(fine).collect();
        let style = ShapeStyle::from(ink.color()).stroke_width(fine_length(width));
        self.draw(&PathElement::new(points, style))
    }

    /// A filled rectangle.
    pub fn rectangle(&self, from: (f64, f64), to: (f64, f64), ink: Ink, opacity: f64) -> Drawn {
        let style =
            ShapeStyle::from(plotters::style::Color::mix(&ink.color(), opacity)).filled();
        self.draw(&Rectangle::new([fine(from), fine(to)], style))
    }

    /// A dot.
    pub fn dot(&self, center: (f64, f64), radius: f64, ink: Ink, opacity: f64) -> Drawn {
        let style =
            ShapeStyle::from(plotters::style::Color::mix(&ink.color(), opacity)).filled();
        self.draw(&Circle::new(fine(center), fine_length(radius), style))
    }

    /// A circle that shows what is under it.
    pub fn ring(&self, center: (f64, f64), radius: f64, ink: Ink, width: f64) -> Drawn {
        let style = ShapeStyle::from(ink.color()).stroke_width(fine_length(width));
        self.draw(&Circle::new(fine(center), fine_length(radius), style))
    }

    /// A line of text.
    pub fn text(&self, text: &str, at: (f64, f64), anchor: Anchor, looks: Type) -> Drawn {
        let horizontal = match anchor {
            Anchor::Start => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::End => HPos::Right,
        };
        let style = if looks.bold { FontStyle::Bold } else { FontStyle::Normal };
        let size = looks.size * FINENESS * FONT_FACTOR;
        let font = ("sans-serif", size).into_font().style(style);
        let color = looks.ink.color();
        let style: TextStyle<'_> = font
            .into_text_style(&self.area)
            .color(&color)
            .pos(Pos::new(horizontal, VPos::Center));
        self.draw(&Text::new(text, fine(at), style))
    }

    fn draw<'e, E>(&self, element: &'e E) -> Drawn
    where
        &'e E: plotters::element::PointCollection<'e, (i32, i32)>,
        E: for<'b> plotters::element::Drawable<SVGBackend<'b>>,
    {
        self.area.draw(element).map_err(|error| DrawError(error.to_string()))
    }
}

/// Draws a chart of `width` × `height` pixels and returns its `<svg>` element.
///
/// `description` is what a screen reader says instead.
pub fn svg(
    width: f64,
    height: f64,
    description: &str,
    draw: impl FnOnce(&Canvas<'_>) -> Drawn,
) -> Result<String, DrawError> {
    let mut text = String::new();
    {
        let size = (fine_length(width), fine_length(height));
        let canvas =
            Canvas { area: SVGBackend::with_string(&mut text, size).into_drawing_area() };
        draw(&canvas)?;
        canvas.area.present().map_err(|error| DrawError(error.to_string()))?;
    }
    Ok(themed(&text, width, height, description))
}

/// Replaces placeholders by CSS variables and the fixed size by one that scales.
fn themed(svg: &str, width: f64, height: f64, description: &str) -> String {
    let body = svg.split_once('>').map_or("", |(_, body)| body);
    let mut themed = format!(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">",
        fine_length(width),
        fine_length(height),
        crate::html::escape(description)
    );
    themed.push_str(body.trim());
    for ink in Ink::all() {
        let (red, green, blue) = ink.placeholder();
        let placeholder = format!("\"#{red:02X}{green:02X}{blue:02X}\"");
        themed = themed.replace(&placeholder, &format!("\"var({})\"", ink.variable()));
    }
    // Defaults of SVG, and a font the style sheet sets anyway.
    for noise in [" opacity=\"1\"", " font-family=\"sans-serif\"", " stroke=\"none\""] {
        themed = themed.replace(noise, "");
    }
    themed
}

fn fine((x, y): (f64, f64)) -> (i32, i32) {
    let whole = |v: f64| {
        #[expect(clippy::cast_possible_truncation, reason = "clamped to what a chart can hold")]
        let pixel = (v * FINENESS).round().clamp(-1e6, 1e6) as i32;
        pixel
    };
    (whole(x), whole(y))
}

fn fine_length(length: f64) -> u32 {
    u32::try_from(fine((length, 0.0)).0.max(1)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_variables_and_text_is_escaped() {
        let chart = svg(100.0, 50.0, "a \"chart\" <of> things", |canvas| {
            canvas.line((0.0, 0.0), (10.0, 10.0), Ink::Series(3), 1.5)?;
            canvas.rectangle((0.0, 0.0), (5.0, 5.0), Ink::Phase(CLOCKS.len() + 1), 0.5)?;
            let looks = Type::label(Ink::Text);
            canvas.text("<b>&\"#010100\"", (1.0, 1.0), Anchor::Start, looks)
        })
        .unwrap();
        assert!(chart.contains("var(--s3)") && chart.contains("var(--p1)"), "{chart}");
        assert!(chart.contains("&lt;b&gt;&amp;&quot;#010100&quot;"), "{chart}");
        assert!(!chart.contains("<of>") && !chart.contains("<b>"), "{chart}");
        assert!(chart.ends_with("</svg>"), "{chart}");
    }
}
