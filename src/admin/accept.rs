//! Which format of the metrics a client wants: the Accept header, RFC 9110, section 12.5.1.

/// A format of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// The older text format of Prometheus, 0.0.4.
    Text,
}

impl Format {
    /// The content type.
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The one that the value of a client's Accept header prefers; OpenMetrics where it likes
    /// both alike, or neither.
    pub(super) fn preferred(accept: &str) -> Self {
        let ranges: Vec<_> = accept.split(',').map(Range::parse).collect();
        let weight = |format: Self| {
            let fitting = ranges.iter().filter_map(|range| {
                let precision = range.precision(format)?;
                Some((precision, range.weight))
            });
            // The most precise range decides, whatever the others say.
            let most = fitting.max_by(|one, other| one.partial_cmp(other).expect("no NaN"));
            most.map_or(0.0, |(_, weight)| weight)
        };
        match weight(Self::Text) > weight(Self::OpenMetrics) {
            true => Self::Text,
            false => Self::OpenMetrics,
        }
    }

    const fn version(self) -> &'static str {
        match self {
            Self::OpenMetrics => "1.0.0",
            Self::Text => "0.0.4",
        }
    }
}

/// One media range of the header, as `text/plain;version=0.0.4;q=0.5`.
struct Range<'a> {
    kind: &'a str,
    version: Option<&'a str>,
    /// From 0 to 1.
    weight: f32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let mut range = Self {
            kind: parts.next().unwrap_or_default(),
            version: None,
            weight: 1.0,
        };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "version" => range.version = Some(value),
                "q" => range.weight = weight(value),
                _ => {}
            }
        }
        range
    }

    /// How precisely it means `format`; `None` if it does not.
    fn precision(&self, format: Format) -> Option<u8> {
        let own = format.kind().split(';').next().unwrap_or_default();
        let group = own.split('/').next().unwrap_or_default();
        let is = |text: &str| self.kind.eq_ignore_ascii_case(text);
        match self.version {
            Some(version) if is(own) => (version == format.version()).then_some(3),
            None if is(own) => Some(2),
            _ if is(&format!("{group}/*")) => Some(1),
            _ if is("*/*") => Some(0),
            _ => None,
        }
    }
}

/// A weight that makes no sense counts as 0.
fn weight(text: &str) -> f32 {
    let weight = text.parse().unwrap_or(0.0);
    match (0.0..=1.0).contains(&weight) {
        true => weight,
        false => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_format_that_is_wanted_most_is_chosen() {
        // As Prometheus 3 asks.
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,\
             */*;q=0.2";
        for (accept, want) in [
            (prometheus, Format::OpenMetrics),
            ("", Format::OpenMetrics),
            ("*/*", Format::OpenMetrics),
            ("application/json", Format::OpenMetrics),
            (
                "text/html,application/xhtml+xml,*/*;q=0.8",
                Format::OpenMetrics,
            ),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "text/plain;q=0.5, application/openmetrics-text",
                Format::OpenMetrics,
            ),
            (
                "text/plain, application/openmetrics-text",
                Format::OpenMetrics,
            ),
            ("text/plain;version=1.0.0", Format::OpenMetrics),
            ("text/plain;q=x, */*", Format::OpenMetrics),
            ("text/plain", Format::Text),
            ("text/plain;version=0.0.4", Format::Text),
            ("TEXT/Plain; Version=\"0.0.4\"; Q=0.1", Format::Text),
            ("text/*", Format::Text),
            ("text/plain;version=0.0.4;q=1,*/*;q=0.1", Format::Text),
            ("application/openmetrics-text;q=0, */*", Format::Text),
            (
                "application/openmetrics-text;version=0.0.1,text/plain;version=0.0.4;q=0.5",
                Format::Text,
            ),
        ] {
            assert_eq!(Format::preferred(accept), want, "{accept}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(accept in "(text/plain|\\*/\\*|q=|[;,=. a-z0-9NaN-]){0,20}") {
            Format::preferred(&accept);
        }
    }
}
