//! The report: one HTML file that says how good a model is.
//!
//! The page needs nothing but itself: styles, charts (SVG) and pictures (PNG) are inside it, it runs
//! no script and its content security policy forbids every request. It can be mailed, archived and
//! printed, and follows the reader's light or dark theme.

pub(crate) mod axis;
mod chart;
pub(crate) mod curve;
pub(crate) mod number;
mod page;
mod picture;

use std::path::Path;

use image::RgbImage;

pub use curve::Curve;

use crate::error::{Error, Result};
use crate::files::atomic;

/// What the page says. All texts are plain text: they are escaped, never read as HTML.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Heading of the page and name of the browser tab.
    pub title: String,
    /// Paragraphs under the heading.
    pub summary: Vec<String>,
    /// Headline numbers, shown as tiles: label and value.
    pub facts: Vec<(String, String)>,
    /// The body, in order.
    pub sections: Vec<Section>,
}

/// A heading, what to know about it, and what there is to see.
#[derive(Debug, Clone)]
pub struct Section {
    /// Heading; it is also the entry in the table of contents.
    pub title: String,
    /// Explanation above the content; an empty line starts a new paragraph.
    pub text: String,
    /// What is shown.
    pub content: Content,
}

/// What a section shows.
#[derive(Debug, Clone)]
pub enum Content {
    /// Charts, side by side where the page is wide enough.
    Charts(Vec<Chart>),
    /// Rows of pictures.
    Figures(Vec<FigureRow>),
    /// A table.
    Table(Table),
}

/// A line chart.
#[derive(Debug, Clone, Default)]
pub struct Chart {
    /// Heading of the chart.
    pub title: String,
    /// Quantity and unit along x.
    pub x_label: String,
    /// Quantity and unit along y.
    pub y_label: String,
    /// Logarithmic y axis; values that are not positive are then not drawn.
    pub log_y: bool,
    /// The lines.
    pub curves: Vec<Curve>,
}

/// Pictures that belong together, side by side.
#[derive(Debug, Clone, Default)]
pub struct FigureRow {
    /// From left to right.
    pub figures: Vec<Figure>,
}

/// A picture and what it shows.
#[derive(Debug, Clone)]
pub struct Figure {
    /// The picture, any size; small ones are enlarged by a whole factor, with their pixels visible.
    pub image: RgbImage,
    /// Text under the picture.
    pub caption: String,
}

/// A table; columns whose cells all begin like numbers are aligned right.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Headings.
    pub columns: Vec<String>,
    /// Rows of as many cells as there are columns.
    pub rows: Vec<Vec<String>>,
}

impl Report {
    /// The page, as one string of HTML.
    ///
    /// # Errors
    /// `Error::Shape` if a table's row has another number of cells than the table has columns, or a
    /// figure has no pixels.
    pub fn to_html(&self) -> Result<String> {
        page::html(self)
    }

    /// Writes the page to `path`, whole or not at all; a missing folder is made.
    ///
    /// # Errors
    /// Those of [`Report::to_html`]; `Error::Argument` if `path` names no file; `Error::Io` if the
    /// folder cannot be written, or the disk is full.
    pub fn write(&self, path: &Path) -> Result<()> {
        if path.file_name().is_none() {
            return Err(Error::argument("report path", "a file name", path.display()));
        }
        atomic::write(path, self.to_html()?.as_bytes())
    }
}

#[cfg(test)]
mod tests;
