//! A table that is shown as text and as HTML.

use comfy_table::{CellAlignment, presets};
use maud::{Markup, html};

/// A table whose first column has names and whose other columns have numbers.
pub(super) struct Table {
    pub(super) header: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    /// Aligned columns without rules, indented by one space.
    pub(super) fn text(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(&self.header);
        table.add_rows(&self.rows);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.trim_fmt()
    }

    pub(super) fn html(&self) -> Markup {
        html! {
            div.wide {
                table {
                    thead { tr { @for name in &self.header { th scope="col" { (name) } } } }
                    tbody {
                        @for row in &self.rows {
                            tr {
                                @for (column, cell) in row.iter().enumerate() {
                                    @if column == 0 { th scope="row" { (cell) } }
                                    @else { td data-label=[self.header.get(column)] { (cell) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
