//! The runtimes that agents live on.

use super::{Context, Finding, Findings, Path};
use crate::topology::SchedulerPolicy;

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    let config = &context.topology.schedulers;
    let path = Path::root().key("schedulers");
    if config.policy == SchedulerPolicy::None
        && let Some(reserve) = config.reserve
        && !findings.is_tainted(&path.key("policy"))
    {
        let message = format!(
            "`schedulers.reserve` is {reserve} while `schedulers.policy` is \"none\", so that nothing is kept free of agents"
        );
        let finding = Finding::new("useless-reserve", path.key("reserve"), message).at_key();
        findings.push(
            finding
                .related(path.key("policy"), "agents share the runtime of everything else")
                .help("remove `reserve`, or set `policy` to \"numa\" or \"core\""),
        );
    }
}

#[cfg(test)]
mod tests {
    use nexus_actors::scheduler::Policy;

    use crate::topology::test::{accepts, reports, reports_at};

    #[test]
    fn schedulers_are_checked() {
        let config = accepts("").schedulers.config();
        assert_eq!((config.policy, config.reserve, config.pin), (Policy::Numa, None, true));
        let config = accepts("[schedulers]\npolicy = \"core\"\nreserve = 0\npin = false").schedulers.config();
        assert_eq!((config.policy, config.reserve, config.pin), (Policy::Core, Some(0), false));
        accepts("[schedulers]\npolicy = \"none\"\npin = false");
        reports_at("[schedulers]\npolicy = \"none\"\nreserve = 1", &[("useless-reserve", 3, 1)]);
        reports("[schedulers]\npolicy = \"nuna\"\nreserve = 1", &[("unknown-value", 2)]);
        reports("[schedulers]\nreserve = -1", &[("out-of-range", 2)]);
        reports("[schedulers]\nreserve = 2000\npin = 1", &[("out-of-range", 2), ("wrong-type", 3)]);
    }
}
