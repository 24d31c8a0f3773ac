//! Reading a running tree: paths, pages, totals.

use std::sync::Arc;

use futures::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde_json::json;

use super::{
    ChildKind, ChildRules, ChildSpec, Found, Root, StartChild, StartContext, StartError, Started, Status,
    SupervisorEnv, SupervisorSpec, TreeNode, TreeTotals,
};
use crate::clock::Clock;
use crate::telemetry::Events;

#[derive(Clone)]
struct Idle;

impl Actor for Idle {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// A dynamic child that says what it is.
struct Labelled(&'static str);

impl StartChild for Labelled {
    fn start(&self, context: StartContext) -> BoxFuture<'static, Result<Started, StartError>> {
        Box::pin(async move {
            let (actor, _) = Idle::spawn_linked(None, Idle, (), context.supervisor().clone()).await?;
            Ok(actor.get_cell().into())
        })
    }

    fn label(&self) -> Option<Arc<str>> {
        Some(self.0.into())
    }
}

fn env() -> SupervisorEnv {
    let clock = Clock::start_at(0);
    SupervisorEnv { clock, events: Events::new(clock, 1000) }
}

fn idle(id: &str) -> ChildSpec {
    ChildSpec::actor(id, || Idle, ())
}

/// `nexus` with `agents` (dynamic: `aircraft/N1`, `aircraft/N2`, `airport`), `ops` (`web`) and `store`.
async fn tree() -> Root {
    let agents = SupervisorSpec::dynamic("agents", ChildRules::worker("agent"));
    let spec = SupervisorSpec::new("nexus")
        .child(ChildSpec::supervisor(agents))
        .child(ChildSpec::supervisor(SupervisorSpec::new("ops").child(idle("web"))))
        .child(idle("store"));
    let root = Root::start(spec, env()).await.unwrap();
    let agents = root.view().find("nexus/agents").unwrap().view().unwrap().supervisor().unwrap();
    for id in ["aircraft/N1", "aircraft/N2", "airport"] {
        agents.start_dynamic(id, Arc::new(Labelled("flying"))).await.unwrap();
    }
    root
}

/// Goal: ids with slashes are found as leaves, supervisors by segments, and wrong paths are not found.
#[tokio::test]
async fn paths_lead_to_supervisors_and_children() {
    let root = tree().await;
    let find = |path: &str| root.view().find(path);
    assert!(matches!(find("nexus"), Some(Found::Root(_))));
    assert!(matches!(find("/nexus"), Some(Found::Root(_))));
    let plane = find("nexus/agents/aircraft/N1").unwrap();
    assert!(plane.cell().is_some() && plane.view().is_none());
    let (supervisor, id) = plane.parent().unwrap();
    assert_eq!((&**supervisor.view().path(), &*id), ("nexus/agents", "aircraft/N1"));
    assert!(find("nexus/ops/web").is_some());
    assert_eq!(find("nexus/ops").unwrap().view().unwrap().name().as_ref(), "ops");
    for wrong in ["", "nexus/", "nexusx", "other", "nexus/agents/aircraft", "nexus/store/x", "nexus/ops/web/"]
    {
        assert!(find(wrong).is_none(), "{wrong}");
    }
    root.shutdown().await;
}

/// Goal: a found child can be ended through its parent, and then is gone.
#[tokio::test]
async fn a_found_child_can_be_terminated() {
    let root = tree().await;
    let (agents, id) = root.view().find("nexus/agents/airport").unwrap().parent().unwrap();
    agents.terminate_child(id).await.unwrap();
    assert!(root.view().find("nexus/agents/airport").is_none());
    root.shutdown().await;
}

/// Goal: pages and depth bound what is shown, totals do not; the hook is asked for each node shown; JSON goes both ways.
#[tokio::test]
async fn snapshots_are_paged() {
    let root = tree().await;
    let extra = |child: &super::ChildView| (child.kind == ChildKind::Worker).then(|| json!({"queue": 0}));
    let all = root.view().snapshot("nexus", 9, 0, 100, &extra).unwrap();
    let ids = |node: &TreeNode| node.children.iter().map(|child| child.id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(&all), ["agents", "ops", "store"]);
    let agents = &all.children[0];
    assert_eq!(ids(agents), ["aircraft/N1", "aircraft/N2", "airport"]);
    assert_eq!((&*agents.label, &*agents.children[0].label), ("simple_one_for_one", "flying"));
    assert_eq!(&*agents.children[0].path, "nexus/agents/aircraft/N1");
    assert_eq!(agents.children[0].extra, Some(json!({"queue": 0})));
    assert_eq!((agents.extra.clone(), agents.status), (None, Status::Running));
    assert_eq!((agents.intensity, agents.period_ms), (Some(1), Some(5000)));

    let page = root.view().snapshot("nexus/agents", 1, 1, 1, &extra).unwrap();
    assert_eq!((ids(&page), page.children_total, page.children_offset), (vec!["aircraft/N2".into()], 3, 1));
    let alone = root.view().snapshot("nexus", 0, 0, 100, &extra).unwrap();
    assert_eq!((alone.children.len(), alone.children_total), (0, 3));
    assert!(root.view().snapshot("nexus/nobody", 1, 0, 1, &extra).is_none());

    let json = serde_json::to_string(&all).unwrap();
    assert_eq!(serde_json::from_str::<TreeNode>(&json).unwrap(), all);
    root.shutdown().await;
}

/// Goal: totals sum the whole tree, restarts included, and see the end.
#[tokio::test]
async fn totals_cover_the_tree() {
    let root = tree().await;
    let before = TreeTotals { supervisors: 3, workers: 5, active: 8, restarts: 0 };
    assert_eq!(root.view().totals(), before);
    let ops = root.view().find("nexus/ops").unwrap().view().unwrap().supervisor().unwrap();
    ops.cycle_child("web").await.unwrap();
    assert_eq!(root.view().totals(), TreeTotals { restarts: 1, ..before });
    root.shutdown().await;
    assert_eq!(root.view().totals().active, 0);
    assert_eq!(root.view().status(), Status::Terminated);
}
