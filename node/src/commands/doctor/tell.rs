//! What the doctor says in the end: to people, to scripts, and to those who are sent a report.

use serde_json::{Value, json};

use super::step::{Step, Verdict};
use super::words::Words;
use crate::error::Error;

/// What came of all steps.
pub(super) struct Diagnosis {
    pub(super) steps: Vec<Step>,
    /// How the network was to be used, for a report.
    pub(super) settings: String,
}

impl Diagnosis {
    /// Returns what it comes to, in one sentence.
    pub(super) fn verdict(&self) -> String {
        let is = |name: &str, verdict| {
            self.steps.iter().any(|step| step.name == name && step.found.verdict == verdict)
        };
        let reach = match () {
            () if is("files", Verdict::Fail) => "nothing can be kept on this computer".to_owned(),
            () if ["clock", "port"].iter().any(|name| is(name, Verdict::Fail)) => "no network can be used".to_owned(),
            () if is("port", Verdict::Skipped) => "other computers were not asked".to_owned(),
            () if ["router", "NAT", "LAN", "DHT"].iter().all(|name| is(name, Verdict::Skipped)) => {
                "who reaches you was not looked at".to_owned()
            }
            () if is("NAT", Verdict::Ok) => "people outside reach you".to_owned(),
            () if is("router", Verdict::Ok) => "people outside reach you, if the router does as it says".to_owned(),
            () if is("LAN", Verdict::Ok) => {
                "you reach your LAN and nodes that everybody reaches; nothing shows that people outside reach you".to_owned()
            }
            () => "you reach nodes that everybody reaches; nothing shows that others reach you".to_owned(),
        };
        let target = self.steps.iter().find(|step| ["drive", "peer"].contains(&step.name));
        let target =
            target.map(|step| (step.name, step.found.verdict)).map_or("", |found| match found {
                ("drive", Verdict::Ok) => "; somebody has the drive",
                ("drive", Verdict::Warn) => "; the drive is served by nobody",
                ("drive", Verdict::Fail) => "; nobody was found who has the drive",
                ("peer", Verdict::Ok | Verdict::Warn) => "; the node answers",
                ("peer", Verdict::Fail) => "; the node cannot be reached",
                _ => "",
            });
        format!("{reach}{target}")
    }

    /// Returns what helps most: of what fails first, else of what is in the way of something.
    pub(super) fn fix(&self) -> Option<&Words> {
        let of = |verdict| {
            let mut steps = self.steps.iter().filter(move |step| step.found.verdict == verdict);
            steps.find_map(|step| step.found.fix.as_ref())
        };
        of(Verdict::Fail).or_else(|| of(Verdict::Warn))
    }

    /// Returns what a command would say that needs what fails first.
    pub(super) fn error(&self) -> Option<Error> {
        self.steps.iter().find_map(|step| step.found.error.clone())
    }

    /// Returns a table for people: all of it, or what everybody may read.
    pub(super) fn table(&self, text: fn(&Words) -> String) -> String {
        let mut table = String::new();
        for step in &self.steps {
            let (sign, says) = (sign(step.found.verdict), text(&step.found.says));
            let fix = step.found.fix.as_ref().map(|fix| format!("   → {}", text(fix)));
            table.push_str(&format!(
                " {sign} {:<9} {says}{}\n",
                step.name,
                fix.unwrap_or_default()
            ));
        }
        table.push_str(&format!("Verdict: {}.\n", self.verdict()));
        let fix = self.fix().map(|fix| format!("Best fix: {}\n", text(fix)));
        table + &fix.unwrap_or_default()
    }

    /// Returns a report that names no computer, user, drive or folder.
    pub(super) fn report(&self) -> String {
        let (version, system, machine) =
            (env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
        let times =
            self.steps.iter().map(|step| format!("{} {:.1} s", step.name, step.took.as_secs_f64()));
        let times: Vec<String> = times.collect();
        format!(
            "datnode {version}, {system} {machine}\n{}\n{}Took: {}\n",
            self.settings,
            self.table(Words::hidden),
            times.join(", ")
        )
    }

    /// Returns the same as [`Self::table`] for scripts.
    pub(super) fn to_json(&self) -> Value {
        let steps = self.steps.iter().map(|step| {
            json!({
                "step": step.name, "verdict": name(step.found.verdict), "says": step.found.says.shown(),
                "fix": step.found.fix.as_ref().map(Words::shown), "seconds": step.took.as_secs_f64(),
            })
        });
        let steps: Vec<Value> = steps.collect();
        json!({ "steps": steps, "verdict": self.verdict(), "fix": self.fix().map(Words::shown) })
    }
}

fn sign(verdict: Verdict) -> char {
    match verdict {
        Verdict::Ok => '✓',
        Verdict::Warn => '◐',
        Verdict::Fail => '✗',
        Verdict::Skipped => '–',
    }
}

fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "fail",
        Verdict::Skipped => "skipped",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::step::Finding;
    use super::*;
    use crate::error::Code;

    fn diagnosis(steps: Vec<(&'static str, Finding)>) -> Diagnosis {
        let took = Duration::from_millis(1_200);
        let steps = steps.into_iter().map(|(name, found)| Step { name, found, took }).collect();
        Diagnosis { steps, settings: "discover lan,dht".to_owned() }
    }

    #[test]
    fn what_fails_comes_before_what_is_in_the_way() {
        let error = Error::new(Code::NoPeers, "nobody");
        let diagnosis = diagnosis(vec![
            ("files", Finding::ok("store ok")),
            ("port", Finding::ok("TCP 3282 listening")),
            ("router", Finding::warn("no router answers").fix("forward the port")),
            ("LAN", Finding::skipped("--discover leaves it out")),
            (
                "drive",
                Finding::fail(error, "nobody has it").fix(Words::new("ask ").own("node", "12D3")),
            ),
        ]);
        let table = diagnosis.table(Words::shown);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[2], " ◐ router    no router answers   → forward the port");
        assert_eq!(lines[3], " – LAN       --discover leaves it out");
        assert_eq!(lines[4], " ✗ drive     nobody has it   → ask 12D3");
        assert!(
            lines[5].starts_with("Verdict: ") && lines[5].contains("nobody was found"),
            "{table}"
        );
        assert_eq!(lines[6], "Best fix: ask 12D3");
        assert_eq!(diagnosis.error().map(|error| error.exit()), Some(5));
        let report = diagnosis.report();
        assert!(report.contains("Best fix: ask <node>\n"), "{report}");
        assert!(!report.contains("12D3") && report.contains("drive 1.2 s"), "{report}");
    }

    #[test]
    fn where_nothing_is_wrong_nothing_is_to_be_done() {
        let all = ["files", "port", "router", "NAT", "LAN", "DHT"];
        let diagnosis = diagnosis(all.map(|name| (name, Finding::ok("fine"))).to_vec());
        assert_eq!(diagnosis.verdict(), "people outside reach you");
        assert!(diagnosis.fix().is_none() && diagnosis.error().is_none());
        assert_eq!(diagnosis.to_json()["steps"].as_array().unwrap().len(), all.len());
    }
}
