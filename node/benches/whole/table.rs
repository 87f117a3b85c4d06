//! One line for each thing that was measured in every round.

/// What was measured, in the order in which it was first.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    references: Vec<Row>,
}

struct Row {
    name: String,
    unit: &'static str,
    /// One for each round.
    values: Vec<f64>,
    reference: Option<String>,
}

impl Table {
    /// Notes what a reference took for something, in seconds.
    pub(crate) fn reference(&mut self, name: &str, what: &str, seconds: f64) {
        note(&mut self.references, &format!("{name}: {what}"), " s", seconds, None);
    }

    /// Notes a time, to be held against a reference's for the same thing.
    pub(crate) fn seconds(&mut self, name: &str, seconds: f64, reference: Option<(&str, &str)>) {
        let reference = reference.map(|(name, what)| format!("{name}: {what}"));
        note(&mut self.rows, name, " s", seconds, reference);
    }

    /// Notes an amount of bytes.
    pub(crate) fn mebibytes(&mut self, name: &str, bytes: u64) {
        note(&mut self.rows, name, " MiB", bytes as f64 / f64::from(1 << 20), None);
    }

    /// Notes a number whose unit is in its name.
    pub(crate) fn number(&mut self, name: &str, number: f64) {
        note(&mut self.rows, name, "", number, None);
    }

    pub(crate) fn print(&self) {
        println!("| | least | median | reference: least | ratio of the least | of the medians |");
        println!("|---|---|---|---|---|---|");
        for row in self.references.iter().chain(&self.rows) {
            let (least, median) = (row.least(), row.median());
            let other = row.reference.as_ref();
            let other = other.and_then(|name| self.references.iter().find(|row| row.name == *name));
            let against = other.map_or_else(Default::default, |other| {
                [
                    format!("{}: {:.2} s", other.name, other.least()),
                    format!("{:.2}", least / other.least()),
                    format!("{:.2}", median / other.median()),
                ]
            });
            let [name, ratio, of_medians] = against;
            let (unit, what) = (row.unit, &row.name);
            println!(
                "| {what} | {least:.2}{unit} | {median:.2}{unit} | {name} | {ratio} | {of_medians} |"
            );
        }
    }
}

impl Row {
    fn least(&self) -> f64 {
        self.values.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn median(&self) -> f64 {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }
}

fn note(
    rows: &mut Vec<Row>,
    name: &str,
    unit: &'static str,
    value: f64,
    reference: Option<String>,
) {
    match rows.iter_mut().find(|row| row.name == name) {
        Some(row) => row.values.push(value),
        None => rows.push(Row { name: name.to_owned(), unit, values: vec![value], reference }),
    }
}
