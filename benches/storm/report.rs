//! Medians, spreads, and the page they end up on.

use std::fmt::Write;

/// Values of one figure, one for each round.
#[derive(Clone, Default)]
pub struct Values(Vec<f64>);

impl Values {
    pub fn push(&mut self, value: f64) {
        let place = self.0.partition_point(|other| *other < value);
        self.0.insert(place, value);
    }

    pub fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match self.0.len() {
            0 => f64::NAN,
            even if even % 2 == 0 => (self.0[middle - 1] + self.0[middle]) / 2.0,
            _ => self.0[middle],
        }
    }

    pub fn least(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    pub fn most(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    /// The value that this share of all keeps below.
    pub fn quantile(&self, share: f64) -> f64 {
        let place = share * self.0.len().saturating_sub(1) as f64;
        self.0
            .get(place.round() as usize)
            .copied()
            .unwrap_or(f64::NAN)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Extend<f64> for Values {
    fn extend<T: IntoIterator<Item = f64>>(&mut self, values: T) {
        values.into_iter().for_each(|value| self.push(value));
    }
}

impl FromIterator<f64> for Values {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        let mut sorted = Self::default();
        sorted.extend(values);
        sorted
    }
}

/// What a figure has to reach.
#[derive(Clone, Copy)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
    None,
}

/// Which value of a figure is held against the goal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    Median,
    Worst,
}

/// One line of a table.
struct Row {
    figure: String,
    unit: &'static str,
    values: Values,
    goal: Goal,
    judged: Judged,
}

/// Tables in the order of the parts, with what to know of each.
#[derive(Default)]
pub struct Report {
    sections: Vec<(String, Vec<Row>, Vec<String>)>,
}

impl Report {
    /// The lines that follow stand under this heading.
    pub fn section(&mut self, title: &str) {
        eprintln!("\n{title}");
        self.sections
            .push((title.to_owned(), Vec::new(), Vec::new()));
    }

    /// A figure whose median is judged.
    pub fn figure(&mut self, figure: impl Into<String>, unit: &'static str, v: Values, goal: Goal) {
        self.row(figure.into(), unit, v, goal, Judged::Median);
    }

    /// A figure that must keep its goal in every round.
    pub fn worst(&mut self, figure: impl Into<String>, unit: &'static str, v: Values, goal: Goal) {
        self.row(figure.into(), unit, v, goal, Judged::Worst);
    }

    /// A remark on the section.
    pub fn note(&mut self, text: impl Into<String>) {
        if let Some((_, _, notes)) = self.sections.last_mut() {
            notes.push(text.into());
        }
    }

    fn row(
        &mut self,
        figure: String,
        unit: &'static str,
        values: Values,
        goal: Goal,
        judged: Judged,
    ) {
        if values.is_empty() {
            return;
        }
        let row = Row {
            figure,
            unit,
            values,
            goal,
            judged,
        };
        eprintln!("  {}", row.line());
        if let Some((_, rows, _)) = self.sections.last_mut() {
            rows.push(row);
        }
    }

    /// All sections in Markdown.
    pub fn markdown(&self) -> String {
        let mut page = String::new();
        for (title, rows, notes) in &self.sections {
            let _ = write!(page, "\n## {title}\n\n");
            page.push_str(
                "| Figure | Median | Least – most | Goal | Met |\n|---|---|---|---|---|\n",
            );
            for row in rows {
                let _ = writeln!(page, "{}", row.line());
            }
            for note in notes {
                let _ = write!(page, "\n{note}\n");
            }
        }
        page
    }
}

impl Row {
    fn line(&self) -> String {
        let Values(values) = &self.values;
        let number = |value: f64| match self.unit {
            "" => format!("{value:.2}"),
            "ms" | "MB" | "µs" => format!("{value:.1} {}", self.unit),
            unit => format!("{} {unit}", thousands(value)),
        };
        let judged = |worst: f64| match self.judged {
            Judged::Median => self.values.median(),
            Judged::Worst => worst,
        };
        let (goal, met) = match self.goal {
            Goal::AtLeast(goal) => (
                format!("≥ {}", number(goal)),
                Some(judged(self.values.least()) >= goal),
            ),
            Goal::AtMost(goal) => (
                format!("≤ {}", number(goal)),
                Some(judged(self.values.most()) <= goal),
            ),
            Goal::None => (String::new(), None),
        };
        let met = met.map_or("", |met| if met { "yes" } else { "no" });
        let spread = match values.len() {
            1 => String::new(),
            _ => format!(
                "{} – {}",
                number(self.values.least()),
                number(self.values.most())
            ),
        };
        let (figure, median) = (&self.figure, number(self.values.median()));
        format!("| {figure} | {median} | {spread} | {goal} | {met} |")
    }
}

/// A whole number with its thousands apart.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
