//! The tree as a scraper reads it: families over the kinds and over the names of tasks.

use std::time::Duration;

use super::meter::{BOUNDS, Histogram};
use super::root::Root;
use super::snapshot::Kind;
use crate::telemetry::Exposition;

impl Root {
    /// Writes what actors and tasks have done, by kind and by name.
    pub fn collect(&self, out: &mut Exposition) {
        let kinds = self.kinds();
        let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Kind) -> u64| {
            out.family(name, kind, help);
            kinds.iter().for_each(|it| out.sample(name, &[("type", it.name)], value(it)));
        };
        family("folio_actors", "gauge", "Actors that have a task.", &|it| it.awake as u64);
        family("folio_actors_known", "gauge", "Actors that are remembered.", &|it| it.known as u64);
        family("folio_actor_fenced", "gauge", "Actors that refuse after too many failures.", &|it| it.fenced as u64);
        family("folio_actor_restarts_total", "counter", "Restarts after a failure.", &|it| it.restarts);
        family("folio_actor_failures_total", "counter", "Panics, errors and kills.", &|it| it.meter.failed);
        family("folio_actor_handled_total", "counter", "Messages that were handled.", &|it| it.meter.handled);
        family("folio_actor_shed_total", "counter", "Messages refused by a full mailbox.", &|it| it.shed);
        family("folio_actor_dead_letters_total", "counter", "Messages taken and not handled.", &|it| {
            it.meter.lost + it.meter.expired
        });
        family("folio_actor_mailbox_messages", "gauge", "Messages in all mailboxes.", &|it| it.depth);
        family("folio_actor_mailbox_depth_max", "gauge", "Messages in the fullest mailbox.", &|it| {
            u64::from(it.depth_max)
        });
        let name = "folio_actor_mailbox_wait_seconds";
        out.family(name, "histogram", "How long messages waited.");
        kinds.iter().for_each(|it| histogram(out, name, it.name, &it.meter.waiting, it.meter.waited));
        let name = "folio_actor_handle_seconds";
        out.family(name, "histogram", "How long messages were handled.");
        kinds.iter().for_each(|it| histogram(out, name, it.name, &it.meter.handling, it.meter.busy));
        let tasks = self.tasks();
        out.family("folio_tasks", "gauge", "Tasks that run.");
        tasks.iter().for_each(|it| out.sample("folio_tasks", &[("task", it.name)], it.running));
        out.family("folio_task_panics_total", "counter", "Panics of tasks.");
        tasks.iter().for_each(|it| out.sample("folio_task_panics_total", &[("task", it.name)], it.panics));
        out.family("folio_task_restarts_total", "counter", "Tasks begun again after a panic.");
        tasks.iter().for_each(|it| out.sample("folio_task_restarts_total", &[("task", it.name)], it.restarts));
    }
}

fn histogram(out: &mut Exposition, name: &str, kind: &str, counts: &Histogram, sum: Duration) {
    let bounds = BOUNDS.iter().map(|nanos| (*nanos as f64 / 1e9).to_string()).chain(["+Inf".into()]);
    let mut so_far = 0;
    for (bound, count) in bounds.zip(counts.counts()) {
        so_far += u64::from(*count);
        out.sample(&format!("{name}_bucket"), &[("type", kind), ("le", &bound)], so_far);
    }
    out.sample(&format!("{name}_sum"), &[("type", kind)], sum.as_secs_f64());
    out.sample(&format!("{name}_count"), &[("type", kind)], so_far);
}
