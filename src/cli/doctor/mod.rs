//! `folio doctor`: looks at everything Folio stands on, and says what to do about what is wrong.
//!
//! It makes nothing and changes nothing, so it may look while Folio runs.

mod backends;
mod folder;

use clap::Args;
use folio::config::Loaded;
use serde::Serialize;

use super::{Failure, causes_to_stderr, runtime, say};

#[derive(Args)]
pub struct Doctor {
    /// Prints one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warning,
    Failed,
}

/// What was found out about one thing.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    state: State,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, detail: impl Into<String>) -> Finding {
        Finding { what, state: State::Ok, detail: detail.into(), version: None, latency_ms: None, advice: None }
    }

    fn bad(what: &'static str, state: State, detail: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { state, advice: Some(advice.into()), ..Finding::ok(what, detail) }
    }
}

impl Doctor {
    pub fn run(self, loaded: &Loaded) -> Result<(), Failure> {
        let settings = loaded.settings().map_err(Failure::settings)?;
        causes_to_stderr();
        let mut findings = vec![match loaded.warnings.as_slice() {
            [] => Finding::ok("settings", loaded.file.as_ref().map_or("no file".into(), |it| it.display().to_string())),
            warnings => Finding::bad("settings", State::Warning, warnings.join("; "), "see folio config show"),
        }];
        findings.extend(folder::look(settings));
        findings.extend(runtime()?.block_on(backends::look(settings)));
        let failed = findings.iter().filter(|it| it.state == State::Failed).count();
        if self.json {
            let page = serde_json::json!({ "ok": failed == 0, "findings": findings });
            say(&format!("{page:#}\n"))?;
        } else {
            say(&findings.iter().map(line).collect::<String>())?;
        }
        match failed {
            0 => Ok(()),
            1 => Err(Failure::failed("one thing needs to be mended")),
            _ => Err(Failure::failed(format!("{failed} things need to be mended"))),
        }
    }
}

fn line(finding: &Finding) -> String {
    let state = match finding.state {
        State::Ok => "ok",
        State::Warning => "warning",
        State::Failed => "FAILED",
    };
    let latency = finding.latency_ms.map_or(String::new(), |ms| format!(", answers in {ms} ms"));
    let advice = finding.advice.as_ref().map_or(String::new(), |advice| format!("{:24}{advice}\n", ""));
    format!("{:14}{state:10}{}{latency}\n{advice}", finding.what, finding.detail)
}
